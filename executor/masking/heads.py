"""The heads of needles in a text: searched with what is built soonest, and later with what reads fastest.

Most runs print little: for them building is what costs. Of some text it is worth a faster automaton, of very much a
scanner. All of them report the same places.
"""

import sys
from bisect import bisect_left

from executor.masking import scanner
from executor.masking.automaton import Automaton, FasterAutomaton

# Bytes of text, for each head, after which the next one is built: that takes as long as reading about that much does.
_FASTER = 1 << 10
_FASTEST = 4 << 10


class Heads:
    """Beginnings of needles, all of one length and sorted. What is found does not depend on what was read before."""

    __slots__ = ("_alphabet", "_find", "_first", "_first_three", "_first_two", "_heads", "_pairs", "_read", "_until")

    def __init__(self, heads: list[bytes]) -> None:
        self._heads = heads
        self._find = Automaton(heads).find
        self._read = 0
        self._until = len(heads) * _FASTER
        # Quick answers: most tails do not begin a head.
        self._alphabet = frozenset(b"".join(heads))
        self._first = frozenset([head[0] for head in heads])
        self._first_two = frozenset([head[:2] for head in heads])
        self._first_three = frozenset([head[:3] for head in heads])
        self._pairs: frozenset[bytes] | None = None  # two bytes that follow one another in a head

    def find(self, data: bytes, start: int = 0) -> list[tuple[int, int]]:
        """Return number and place of each head in `data` from `start` on, ordered by place: one at most per place."""
        self._read += len(data) - start
        if self._read > self._until:
            self._faster()
        return self._find(data, start)

    def tail(self, data: bytes) -> int:
        """Return the length of the longest end of `data` that is a proper prefix of a head."""
        last = data[-1]
        if last not in self._alphabet:
            return 0
        if self._pairs is None or data[-2:] in self._pairs:
            heads = self._heads
            end = data[1 - len(heads[0]) :]
            for at in range(len(end) - 2):
                if end[at : at + 3] in self._first_three:
                    start = end[at:]
                    place = bisect_left(heads, start)
                    if place < len(heads) and heads[place].startswith(start):
                        return len(start)
            if end[-2:] in self._first_two:
                return 2
        return 1 if last in self._first else 0

    def _faster(self) -> None:
        heads = self._heads
        if self._until == len(heads) * _FASTER:
            self._until = len(heads) * _FASTEST
            self._find = FasterAutomaton(heads).find
            self._pairs = frozenset([head[at : at + 2] for head in heads for at in range(len(head) - 2)])
            return
        self._until = sys.maxsize
        if scanner.is_worth_it(heads):
            self._find = Automaton(heads).find  # the other one's memory is free before a scanner takes its own
            self._find = (scanner.scanner(heads) or FasterAutomaton(heads)).find
