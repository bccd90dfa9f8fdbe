"""The masker: replaces secrets with `***` in everything that leaves a run.

It works on a stream of bytes, however it is cut into chunks, and holds back only a tail that may still become a match.
Leftmost-longest search leaves the end of overlapping secrets in clear, and an automaton over long patterns takes
gigabytes. So the automaton knows only the head of each needle, its first few bytes, and reports every place where one
occurs; the whole needle is compared there. Matches that overlap or touch become one `***`.
"""

import copy
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Self

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

from executor.masking.needles import SHORTEST, needles_for

MASK = b"***"
TAIL_SHOWN = 3  # bytes; a longer tail that begins a needle is masked when the stream ends
JSON_DEPTH = 64
BLOCK = 64 << 10  # bytes searched at a time: each may start a match, and a match object takes over 100 bytes

# Every needle has at least SHORTEST bytes, so it has a head of that length, and most heads belong to one needle. Many
# needles get shorter heads: each state costs time to build.
_MANY = 2_000
_HEAD_OF_MANY = 6
# A deterministic automaton is three times as fast (600 MB/s). It has a row per state, at most one state per byte of a
# head, and a column per byte value that occurs.
_DETERMINISTIC_LIMIT = 48 << 20  # bytes
# A vectorised search is ten times faster still, but takes at most 64 patterns and reports no overlaps. A few side by
# side tell where to search at all; for short texts that costs more than it saves.
_VECTOR_PATTERNS = 64
_VECTORS = 4
_LOW_HALF = bytes(byte & 15 for byte in range(256))
_SHORT_TEXT = 2_048  # bytes


Origin = tuple[str, str]
"""Whose needle it is, and the name of its form."""

Hits = dict[Origin, int]
"""How often the needles of a secret were seen in a form."""


class NestedTooDeep(ValueError):
    """the value is nested more deeply than a result may be"""


class Masker:
    """The needles, shared by all streams of a run. Immutable; its repr shows nothing."""

    __slots__ = ("_engine", "_families", "_firsts", "_head", "_heads", "_hits", "_origins", "_pairs", "_shared")

    def __init__(self, needles: Mapping[bytes, Origin], shared: Mapping[bytes, tuple[Origin, ...]] = {}) -> None:
        """Search for exactly these needles, each of `SHORTEST` bytes or more; see `build`.

        Args:
            needles: each with whose it is.
            shared: of those that are several secrets' the others.
        """
        self._origins, self._shared = needles, shared
        self._hits: Hits | None = None
        ordered = sorted(needles)
        if any(len(needle) < SHORTEST for needle in ordered):
            raise ValueError(f"a needle has fewer than {SHORTEST} bytes")
        head_size = self._head = SHORTEST if len(ordered) <= _MANY else _HEAD_OF_MANY
        self._heads: list[bytes] = []
        self._families: list[bytes | _Family] = []
        for head, members in groupby(ordered, key=lambda needle: needle[:head_size]):
            family = list(members)
            self._heads.append(head)
            self._families.append(family[0] if len(family) == 1 else _Family(family))
        self._engine = _Engine(self._heads) if ordered else None
        # Quick answers: most tails do not begin a head.
        self._firsts = frozenset(head[0] for head in self._heads)
        self._pairs = frozenset(head[at : at + 2] for head in self._heads for at in range(self._head - 2))

    @classmethod
    def build(cls, values: Mapping[str, bytes], derived: Mapping[str, bytes] = {}) -> Self:
        """Build the masker for these secrets, by name; values too short to mask are left out, see `verdict`.

        Args:
            values: the secrets. A needle that several of them have is each one's.
            derived: what else is masked, by what it is; a needle that a secret has already is the secret's alone.
        """
        needles: dict[bytes, Origin] = {}
        shared: dict[bytes, tuple[Origin, ...]] = {}
        for name, value in (*values.items(), *derived.items()):
            origins: dict[str, Origin] = {}  # one object for each form: there may be ten thousand needles
            for needle, form in needles_for(value).items():
                origin = origins.setdefault(form, (name, form))
                if needles.setdefault(needle, origin) is not origin and name in values:
                    shared[needle] = (*shared.get(needle, ()), origin)
        return cls(needles, shared)

    def counting(self, hits: Hits) -> Self:
        """Return the same masker, which adds to `hits` what it masks or finds; a stream of it has them as its own."""
        twin = copy.copy(self)
        twin._hits = hits
        return twin

    def stream(self) -> "Stream":
        """Start masking one stream of output; stdout and stderr need one each."""
        return Stream(self)

    def mask(self, data: bytes) -> bytes:
        """Mask a whole buffer. Mask before cutting it to a length: half a secret is not recognised."""
        if self._engine is None or len(data) < SHORTEST:
            return data
        if len(data) <= BLOCK and not self._engine.find(data):
            return data
        stream = self.stream()
        return stream.feed(data) + stream.rest()

    def mask_text(self, text: str) -> str:
        """Mask a text. Lone surrogates, which UTF-8 cannot hold, become replacement characters."""
        return self.mask(_bytes_of(text)).decode("utf-8", "replace")

    def mask_beginning(self, text: str) -> str:
        """Mask the beginning of a longer text; also its end, if a needle may begin there."""
        stream = self.stream()
        return (stream.feed(_bytes_of(text)) + stream.finish()).decode("utf-8", "replace")

    def mask_json(self, value: object, depth: int = JSON_DEPTH) -> object:
        """Copy a parsed JSON value with every string, key and number masked.

        Args:
            value: what `json.loads` returns.
            depth: levels of lists and objects allowed.

        Returns:
            The same shape. A number whose decimal text holds a needle becomes the string `***`; keys that masking
            makes equal are numbered.

        Raises:
            NestedTooDeep: there are more levels.
            TypeError: it holds something other than JSON.
        """
        if isinstance(value, str):
            return self.mask_text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return MASK.decode() if self._shows(value) else value
        if depth <= 0:
            raise NestedTooDeep(NestedTooDeep.__doc__)
        if isinstance(value, list):
            return [self.mask_json(item, depth - 1) for item in value]
        if isinstance(value, dict):
            anew: dict[str, object] = {}
            numbers: dict[str, int] = {}
            for key, item in value.items():
                anew[_unused(self.mask_text(key), anew, numbers)] = self.mask_json(item, depth - 1)
            return anew
        raise TypeError(f"JSON has no {type(value).__name__}")

    def finds(self, chunks: Iterable[bytes]) -> bool:
        """Tell whether a file, given in chunks, contains a needle. Stops at the first."""
        stream = self.stream()
        for chunk in chunks:
            stream.feed(chunk)
            if stream.found:
                return True
        stream.finish()
        return stream.found

    def _shows(self, number: int | float) -> bool:
        try:
            texts = [repr(number)]
            if isinstance(number, float) and number.is_integer():
                texts.append(str(int(number)))
        except ValueError:  # more digits than Python converts
            return True
        return any(self.mask(text.encode()) != text.encode() for text in texts)

    def _longest(self, family: int, data: bytes, start: int) -> int:
        """Return the length of the family's longest needle at `start`; 0 if there is none."""
        members = self._families[family]
        if isinstance(members, bytes):
            return len(members) if data.startswith(members, start) else 0
        return members.longest(data[start : start + members.reach])

    def _may_grow(self, family: int, data: bytes, start: int) -> bool:
        """Tell whether everything from `start` on is the beginning of a longer needle of the family."""
        members = self._families[family]
        if isinstance(members, bytes):
            return len(data) - start < len(members) and members.startswith(data[start:])
        return len(data) - start < members.reach and members.may_grow(data[start:])

    def _whose(self, needle: bytes) -> tuple[Origin, ...]:
        return (self._origins[needle], *self._shared.get(needle, ()))

    def _tail(self, data: bytes) -> int:
        """Return the length of the longest end of `data` that is a proper prefix of a head."""
        if data[-2:] in self._pairs:
            heads = self._heads
            for length in range(min(self._head - 1, len(data)), 1, -1):
                end = data[-length:]
                place = bisect_left(heads, end)
                if place < len(heads) and heads[place].startswith(end):
                    return length
        return 1 if data[-1] in self._firsts else 0


class Stream:
    """The masker of one stream: feed it what arrives, send on what it returns, finish it once."""

    __slots__ = (
        "_around", "_base", "_covered", "_held", "_masker", "_open", "_place", "_touching", "_without",
        "first", "found", "hits",
    )  # fmt: skip

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self.found = False  # whether a needle was seen so far
        self.hits: Hits = {} if masker._hits is None else masker._hits
        self.first: Hits = {}  # where the mask of the first hit of each is in what comes out
        self._place = 0  # where the last mask is in what comes out
        self._without = 0  # by how many bytes what comes out is shorter so far
        self._around = b""  # the needle that reaches furthest so far
        self._held = b""  # the tail that may still become a match
        self._base = 0  # where held begins, counted from the start of the stream
        self._open: list[tuple[int, int]] = []  # heads whose needles are undecided: (family, place in the stream)
        self._covered = 0  # how many bytes of held belong to a mask that was sent
        self._touching = False  # the last thing sent is a mask that ends where held begins, or within it

    def feed(self, data: bytes) -> bytes:
        """Take a chunk; return what can go out now, masked.

        The longest end that is a proper prefix of a needle is held back.
        """
        if self._masker._engine is None:
            return data
        if len(data) <= BLOCK:
            return self._take(data)
        return b"".join([self._take(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)])

    def finish(self) -> bytes:
        """End the stream: return what is held, masked if it is over `TAIL_SHOWN` bytes of a needle."""
        held, touching = self._held, self._touching
        rest = self.rest()
        if len(held) <= TAIL_SHOWN:
            return rest
        return b"" if touching else MASK

    def rest(self) -> bytes:
        """End a stream known to be whole: return what is held, with only complete needles masked."""
        return self._resolve(self._held, last=True)

    def _take(self, data: bytes) -> bytes:
        masker, held = self._masker, self._held
        engine = masker._engine
        if engine is None or not data:
            return data
        new_from = 0
        if held:
            data = held + data
            # Heads that begin before this place were found with an earlier chunk.
            new_from = max(0, len(held) - masker._head + 1)
        heads = engine.find(data, new_from)
        if heads or self._open or self._covered:
            self._open += [(family, self._base + start) for family, start in heads]
            return self._resolve(data)
        # The common case: no head anywhere, so all but the tail goes out as it is.
        kept = masker._tail(data)
        self._held = data[-kept:] if kept else b""
        if kept:
            data = data[:-kept]
        if data:
            self._base += len(data)
            self._touching = False
        return data

    def _resolve(self, data: bytes, last: bool = False) -> bytes:
        """Decide the open heads in order, as far as `data` allows (all if it is the last); hold back the rest."""
        masker, base = self._masker, self._base
        pieces: list[bytes] = []
        at = self._covered  # all of data before this is sent or masked
        touching = self._touching
        hold = None  # where what is held back begins
        decided = 0
        for family, place in self._open:
            start = place - base
            if not last and masker._may_grow(family, data, start):
                # More data decides this one. Everything from here on is held, so the heads behind it can wait.
                hold = start
                break
            decided += 1
            end = start + masker._longest(family, data, start)
            if end == start:
                continue  # only the head matched
            # A needle that overlaps or touches the last mask becomes part of it.
            if start > at or not touching:
                pieces += (data[at:start], MASK)
                self._place = base + start - self._without
                self._without -= len(MASK)
                touching = True
            self.found = True
            needle = data[start:end]
            origin = masker._origins[needle]
            if end <= at or needle in masker._shared or origin not in self.first:
                self._count(needle, inside=end <= at)
            else:  # the common case in a flood of them
                self.hits[origin] += 1
            if end > at:
                self._without += end - max(start, at)
                at, self._around = end, needle
        del self._open[:decided]
        if hold is None:
            # Every head is decided; the tail may still begin another one.
            hold = len(data) if last else len(data) - masker._tail(data)
        if at < hold:
            pieces.append(data[at:hold])
            touching = False
        # The last needle may reach into what is held: remember how much of it is masked already.
        self._covered = max(0, at - hold)
        self._touching = touching
        self._held = data[hold:]
        self._base = base + hold
        return b"".join(pieces)

    def _count(self, needle: bytes, inside: bool) -> None:
        """Note a hit; a part of a value within that value, or within another form of it, is none of its own."""
        masker = self._masker
        for origin in masker._whose(needle):
            if inside and any(origin[0] == name for name, _ in masker._whose(self._around)):
                continue
            self.hits[origin] = self.hits.get(origin, 0) + 1
            self.first.setdefault(origin, self._place)


class _Engine:
    """Finds every place where a head occurs; one at most per place, since all have the same length."""

    __slots__ = ("_automaton", "_length", "_vectors")

    def __init__(self, heads: list[bytes]) -> None:
        self._length = len(heads[0])
        columns = 1 << len(frozenset().union(*heads)).bit_length()
        size = len(heads) * self._length * columns * 4
        kind = Implementation.DFA if size <= _DETERMINISTIC_LIMIT else Implementation.ContiguousNFA
        self._automaton = BytesAhoCorasick(heads, implementation=kind)
        self._vectors: list[BytesAhoCorasick] = []
        if len(heads) <= _VECTORS * _VECTOR_PATTERNS:
            for some in _groups(heads):
                vector = BytesAhoCorasick(some, MatchKind.LeftmostFirst, Implementation.ContiguousNFA)
                self._vectors.append(vector)

    def find(self, data: bytes, start: int = 0) -> list[tuple[int, int]]:
        """Return number and place of each head in `data` from `start` on, ordered by place."""
        end = len(data)
        if self._vectors and end - start > _SHORT_TEXT:
            start, end = self._span(data, start)
            if start == end:
                return []
        part = data if start == 0 and end == len(data) else memoryview(data)[start:end]
        found = self._automaton.find_matches_as_indexes(part, overlapping=True)
        return [(head, start + place) for head, place, _ in found]

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


class _Family:
    """Needles that share a head, sorted."""

    __slots__ = ("_members", "_parents", "reach")

    def __init__(self, members: list[bytes]) -> None:
        self._members = members
        self.reach = max(map(len, members))
        self._parents: list[int] = []  # per member: the longest other member it starts with, or -1
        for index, member in enumerate(members):
            parent = index - 1
            while parent >= 0 and not member.startswith(members[parent]):
                parent = self._parents[parent]
            self._parents.append(parent)

    def longest(self, text: bytes) -> int:
        """Return the length of the longest member that `text` starts with; 0 if there is none.

        A member that `text` starts with sorts before it, and all members between the two start with that member: so it
        is the last one not after `text`, or among that one's parents.
        """
        index = bisect_right(self._members, text) - 1
        while index >= 0:
            if text.startswith(self._members[index]):
                return len(self._members[index])
            index = self._parents[index]
        return 0

    def may_grow(self, text: bytes) -> bool:
        """Tell whether a member starts with `text` and is longer."""
        index = bisect_right(self._members, text)
        return index < len(self._members) and self._members[index].startswith(text)


def _bytes_of(text: str) -> bytes:
    """Encode as UTF-8; a lone surrogate becomes the byte it escapes (`surrogateescape`), any other is replaced."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Escaped bytes stay bytes: the needles of the secret that they belong to are bytes.
        kept = (
            "\ufffd" if "\ud800" <= char <= "\udfff" and not "\udc80" <= char <= "\udcff" else char for char in text
        )
        return "".join(kept).encode("utf-8", "surrogateescape")


def _unused(key: str, taken: dict[str, object], numbers: dict[str, int]) -> str:
    """Return a key that is not taken, numbered if need be.

    The number to try next is kept by key: a run may return very many that become equal, and counting anew for each
    would take its supervisor minutes, in which it hears nobody.
    """
    if key not in taken:
        return key
    number = numbers.get(key, 2)
    while (anew := f"{key} ({number})") in taken:
        number += 1
    numbers[key] = number + 1
    return anew
