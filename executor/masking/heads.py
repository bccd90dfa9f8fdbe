"""The heads of needles in a text: searched with what is built soonest, and later with what reads fastest.

Most runs print little: for them building is what costs. Of some text it is worth an automaton, of more a faster one or,
compiled in the background, a scanner. All of them report the same places.
"""

import sys
from bisect import bisect_left
from collections.abc import Callable
from functools import partial

from executor.masking import scanner
from executor.masking.automaton import Automaton, faster
from executor.masking.scanner import Compilation

# Bytes of text, for each head, after which the next one is built: that takes about as long as reading so much did.
_AUTOMATON = 8
_FASTER = 256
_SCANNER = 1 << 10  # less than its compilation takes, which another core does meanwhile

_FOR_GOOD = sys.maxsize
_FEW = 256  # heads

Find = Callable[[bytes, int], list[tuple[int, int]]]


class Heads:
    """Beginnings of needles, all of one length. What is found does not depend on what was read before."""

    __slots__ = ("_find", "_numbers", "_read", "_step", "_until", "find", "tail")

    find: Find
    """Returns number and place of each head in a text from a place on, ordered by place: one at most per place."""

    tail: Callable[[bytes], int]
    """Returns the length of the longest end of a text that is a proper prefix of a head."""

    def __init__(self, numbers: dict[bytes, int]) -> None:
        """Search for these heads, numbered from 0 in their order."""
        self._numbers = numbers
        self._find: Find = _ByPlace(numbers).find
        self._step = self._read = 0
        self._until = len(numbers) * _AUTOMATON
        self.find = self._counting
        self.tail = _Ends(numbers).longest

    def _counting(self, data: bytes, start: int) -> list[tuple[int, int]]:
        self._read += len(data) - start
        while self._read > self._until:
            self._faster()
        return self.find(data, start) if self._until == _FOR_GOOD else self._find(data, start)

    def _faster(self) -> None:
        heads = list(self._numbers)
        self._step += 1
        if self._step == 1:
            self._find = Automaton(heads).find
            # A faster automaton would not make good its memory, and the time to build it, before a scanner is there.
            self._step += scanner.is_worth_it(heads)
            self._until = len(heads) * (_FASTER if self._step == 1 else _SCANNER)
            return
        self._until = _FOR_GOOD  # nothing is left to count for
        if self._step == 2:
            self.find = self._find = faster(heads).find
        else:
            self.find = partial(self._awaiting, Compilation(heads))

    def _awaiting(self, compilation: Compilation, data: bytes, start: int) -> list[tuple[int, int]]:
        if compilation.over:
            self._find = (compilation.scanner or faster(list(self._numbers))).find
            self.find = self._find
        return self._find(data, start)


class _ByPlace:
    """Looks at each place whether a head is there: nothing is built, and reading is slow."""

    __slots__ = ("_numbers", "_size")

    def __init__(self, numbers: dict[bytes, int]) -> None:
        self._numbers, self._size = numbers, len(next(iter(numbers)))

    def find(self, data: bytes, start: int) -> list[tuple[int, int]]:
        numbers, size = self._numbers, self._size
        return [
            (numbers[head], place)
            for place in range(start, len(data) - size + 1)
            if (head := data[place : place + size]) in numbers
        ]


class _Ends:
    """Tells how much of a head stands at the end of a text; quickly if it is nothing, as mostly."""

    __slots__ = ("_alphabet", "_first", "_first_three", "_first_two", "_heads", "_numbers", "_pairs")

    def __init__(self, numbers: dict[bytes, int]) -> None:
        self._numbers = numbers
        self._alphabet = frozenset(b"".join(numbers))
        self._heads: list[bytes] = []  # sorted, once it is used

    def longest(self, data: bytes) -> int:
        last = data[-1]
        if last not in self._alphabet:
            return 0
        if not self._heads:
            self._prepare()
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

    def _prepare(self) -> None:
        heads = self._heads = sorted(self._numbers)
        self._first = frozenset([head[0] for head in heads])
        self._first_two = frozenset([head[:2] for head in heads])
        self._first_three = frozenset([head[:3] for head in heads])
        self._pairs: frozenset[bytes] | None = None
        if len(heads) <= _FEW:  # with many, most pairs are in one
            self._pairs = frozenset([head[at : at + 2] for head in heads for at in range(len(head) - 2)])
