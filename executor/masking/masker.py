"""The masker: replaces secrets with `***` in everything that leaves a run.

It works on a stream of bytes, however it is cut into chunks, and holds back only a tail that may still become a match.
Leftmost-longest search leaves the end of overlapping secrets in clear, and an automaton over long patterns takes
gigabytes. So what searches (`heads.py`) knows only the head of each needle, its first bytes, and reports every place
where one occurs; the whole needle is compared there. Matches that overlap or touch become one `***`.

sealrun's own API tokens are masked whatever a run was given: they are told by their shape (`token_shape.py`).
"""

import copy
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Self

from executor.masking.heads import Heads
from executor.masking.needles import AS_IT_IS, SHORTEST, needles_for
from executor.masking.token_shape import LENGTH, beginning, is_token, may_be_token, places

MASK = b"***"
TAIL_SHOWN = 3  # bytes; a longer tail that begins a needle is masked when the stream ends
JSON_DEPTH = 64
BLOCK = 64 << 10  # bytes searched at a time: each may start a match, and a match object takes over 100 bytes

Origin = tuple[str, str]
"""Whose needle it is, and the name of its form."""

OWN_TOKEN: Origin = ("an API token of sealrun", AS_IT_IS)
_OWN = -1  # in place of a family's number
_PLACE = itemgetter(1)

Hits = dict[Origin, int]
"""How often the needles of a secret were seen in a form."""


class NestedTooDeep(ValueError):
    """the value is nested more deeply than a result may be"""


class Masker:
    """The needles, shared by all streams of a run. What it masks never changes; its repr shows nothing."""

    __slots__ = ("_families", "_heads", "_hits", "_numbers", "_origins", "_shared")

    def __init__(self, needles: Mapping[bytes, Origin], shared: Mapping[bytes, tuple[Origin, ...]] = {}) -> None:
        """Search for exactly these needles, each of `SHORTEST` bytes or more; see `build`.

        Args:
            needles: each with whose it is.
            shared: of those that are several secrets' the others.
        """
        self._origins, self._shared = needles, shared
        self._hits: Hits | None = None
        heads = dict.fromkeys([needle[:SHORTEST] for needle in needles])
        if min(map(len, heads), default=SHORTEST) < SHORTEST:
            raise ValueError(f"a needle has fewer than {SHORTEST} bytes")
        self._numbers = dict(zip(heads, range(len(heads)), strict=True))
        self._families: list[bytes | list[bytes] | _Family] = []  # by number, once a head was seen; see `_grouped`
        self._heads = Heads(self._numbers) if heads else None

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
            found = needles_for(value)
            # One object for each form: there may be ten thousand needles.
            origins: dict[str, Origin] = {form: (name, form) for form in set(found.values())}
            if needles.keys().isdisjoint(found):
                needles.update(zip(found, map(origins.__getitem__, found.values()), strict=True))
                continue
            for needle, form in found.items():
                origin = origins[form]
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
        if len(data) < SHORTEST:
            return data
        if len(data) <= BLOCK and not self._find(data, 0):
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

    def _find(self, data: bytes, held: int) -> list[tuple[int, int]]:
        """Return where needles may begin, by place: their families. What begins in the held part was found before."""
        heads = self._heads
        found = [] if heads is None else heads.find(data, held - SHORTEST + 1 if held >= SHORTEST else 0)
        own = places(data, held - 3 if held > 3 else 0)
        if not own:  # nearly always
            return found
        return sorted([*found, *((_OWN, place) for place in own)], key=_PLACE)

    def _tail(self, data: bytes) -> int:
        """Return the length of the longest end that may be the beginning of a head, or of a token's."""
        heads = self._heads
        kept = 0 if heads is None else heads.tail(data)
        # `srn` may become a token; `_` ends only what was found already.
        return kept if kept > 2 or data[-1] not in b"srn" else max(kept, beginning(data))

    def _longest(self, family: int, data: bytes, start: int) -> int:
        """Return the length of the family's longest needle at `start`; 0 if there is none."""
        if family == _OWN:
            return LENGTH if is_token(data[start : start + LENGTH]) else 0
        members = (self._families or self._grouped())[family]
        if isinstance(members, bytes):
            return len(members) if data.startswith(members, start) else 0
        if isinstance(members, list):
            members = self._family(family, members)
        return members.longest(data[start : start + members.reach])

    def _may_grow(self, family: int, data: bytes, start: int) -> bool:
        """Tell whether everything from `start` on is the beginning of a longer needle of the family."""
        if family == _OWN:
            return len(data) - start < LENGTH and may_be_token(data[start:])
        members = (self._families or self._grouped())[family]
        if isinstance(members, bytes):
            return len(data) - start < len(members) and members.startswith(data[start:])
        if isinstance(members, list):
            members = self._family(family, members)
        return len(data) - start < members.reach and members.may_grow(data[start:])

    def _grouped(self) -> list["bytes | list[bytes] | _Family"]:
        """Group the needles by their heads, for all twins: most runs show nothing that begins like a secret."""
        numbers = self._numbers
        families: list[bytes | list[bytes] | _Family] = []
        for needle in self._origins:
            number = numbers[needle[:SHORTEST]]
            if number == len(families):  # they are numbered in this order
                families.append(needle)
            elif isinstance(members := families[number], bytes):
                families[number] = [members, needle]
            elif isinstance(members, list):
                members.append(needle)
        self._families += families
        return self._families

    def _family(self, family: int, members: list[bytes]) -> "_Family":
        """Make needles ready to be compared: most heads never occur."""
        made = self._families[family] = _Family(members)
        return made

    def _whose(self, needle: bytes) -> tuple[Origin, ...]:
        return (self._origins.get(needle, OWN_TOKEN), *self._shared.get(needle, ()))


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
        if not data:
            return data
        if held:
            data = held + data
        found = masker._find(data, len(held))
        if found or self._open or self._covered:
            self._open += [(family, self._base + start) for family, start in found]
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
            origin = masker._origins.get(needle, OWN_TOKEN)
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
            hold = len(data) if last or not data else len(data) - masker._tail(data)
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


class _Family:
    """Needles that share a head."""

    __slots__ = ("_members", "_parents", "reach")

    def __init__(self, members: list[bytes]) -> None:
        self._members = members = sorted(members)
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
