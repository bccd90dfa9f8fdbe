"""Aho-Corasick automatons over the heads of needles."""

from collections.abc import Iterator

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

_BEGINNING = 6  # bytes of a head: with fewer, ordinary text has many
# A deterministic automaton is three times as fast (600 MB/s). It has a row per state, at most one state per byte of a
# pattern, and a column per byte value that occurs.
_DETERMINISTIC_LIMIT = 48 << 20  # bytes
# A vectorised search is ten times faster still, but takes at most 64 patterns and reports no overlaps. A few side by
# side tell where to search at all; for short texts that costs more than it saves.
_VECTOR_PATTERNS = 64
_VECTORS = 4
_LOW_HALF = bytes(byte & 15 for byte in range(256))
_SHORT_TEXT = 2_048  # bytes


class Automaton:
    """Finds every place where a head occurs. It is built in half a microsecond a head."""

    __slots__ = ("_automaton",)

    def __init__(self, heads: list[bytes]) -> None:
        """Search for these, all of one length: so there is one at most per place."""
        self._automaton = BytesAhoCorasick(heads, implementation=Implementation.ContiguousNFA)

    def find(self, data: bytes, start: int) -> list[tuple[int, int]]:
        """Return number and place of each head in `data` from `start` on, ordered by place."""
        part = memoryview(data)[start:] if start else data
        found = self._automaton.find_matches_as_indexes(part, overlapping=True)
        return [(head, start + place) for head, place, _ in found] if found else []


class FasterAutomaton:
    """Does the same for many heads: reads faster, and takes several times as long to build.

    It knows their first bytes, which make fewer states, and looks at the rest where they occur.
    """

    __slots__ = ("_automaton", "_numbers", "_size")

    def __init__(self, heads: list[bytes]) -> None:
        """Search for these, all of one length."""
        self._numbers = {head: number for number, head in enumerate(heads)}
        self._size = len(heads[0])
        self._automaton = _deterministic(list(dict.fromkeys([head[:_BEGINNING] for head in heads])))

    def find(self, data: bytes, start: int) -> list[tuple[int, int]]:
        """Return number and place of each head in `data` from `start` on, ordered by place."""
        part = memoryview(data)[start:] if start else data
        found = self._automaton.find_matches_as_indexes(part, overlapping=True)
        if not found:
            return []
        numbers, size = self._numbers, self._size
        places = [start + place for _, place, _ in found]
        return [(numbers[head], place) for place in places if (head := data[place : place + size]) in numbers]


class VectoredAutomaton:
    """Does the same for few heads, in long texts with vectorised searches."""

    __slots__ = ("_automaton", "_length", "_vectors")

    def __init__(self, heads: list[bytes]) -> None:
        """Search for these, all of one length."""
        self._length = len(heads[0])
        self._automaton = _deterministic(heads)
        self._vectors = [
            BytesAhoCorasick(some, MatchKind.LeftmostFirst, Implementation.ContiguousNFA) for some in _groups(heads)
        ]

    def find(self, data: bytes, start: int) -> list[tuple[int, int]]:
        """Return number and place of each head in `data` from `start` on, ordered by place."""
        part = memoryview(data)[start:] if start else data
        if len(part) > _SHORT_TEXT:
            start, end = self._span(data, start)
            if start == end:
                return []
            part = memoryview(data)[start:end]
        found = self._automaton.find_matches_as_indexes(part, overlapping=True)
        return [(head, start + place) for head, place, _ in found] if found else []

    def _span(self, data: bytes, start: int) -> tuple[int, int]:
        """Return the part of `data` that contains all heads.

        A vectorised search skips heads that overlap one it has reported. They begin after that one begins and end less
        than a head's length after its end.
        """
        text = memoryview(data)[start:] if start else data
        first, last = len(data), start
        for vector in self._vectors:
            found = vector.find_matches_as_indexes(text)
            if found:
                first = min(first, start + found[0][1])
                last = max(last, start + found[-1][2])
        return first, max(first, min(last + self._length, len(data)))


def faster(heads: list[bytes]) -> FasterAutomaton | VectoredAutomaton:
    """Return an automaton that reads these heads faster; the fewer they are, the faster."""
    few = len(heads) <= _VECTORS * _VECTOR_PATTERNS
    return VectoredAutomaton(heads) if few else FasterAutomaton(heads)


def _deterministic(patterns: list[bytes]) -> BytesAhoCorasick:
    columns = 1 << len(frozenset(b"".join(patterns))).bit_length()
    fits = sum(map(len, patterns)) * columns * 4 <= _DETERMINISTIC_LIMIT
    kind = Implementation.DFA if fits else Implementation.ContiguousNFA
    return BytesAhoCorasick(patterns, implementation=kind)


def _groups(heads: list[bytes]) -> Iterator[list[bytes]]:
    """Yield the heads in as few groups as there must be, all of about the same size.

    A vectorised search deals its patterns out to 8 buckets in turn, or to 16 if they are over 32. It looks closer at
    each place that a bucket may match, by the lower halves of the first bytes: so heads with the same ones are put
    where they come into the same bucket.
    """
    ordered = sorted(heads, key=lambda head: head[:4].translate(_LOW_HALF))
    size = -(-len(heads) // -(-len(heads) // _VECTOR_PATTERNS))
    for at in range(0, len(heads), size):
        some = ordered[at : at + size]
        buckets = 16 if len(some) > 32 else 8
        full, more = divmod(len(some), buckets)
        starts = [bucket * full + min(bucket, more) for bucket in range(buckets)]
        yield [some[start + turn] for turn in range(full) for start in starts] + [
            some[start + full] for start in starts[:more]
        ]
