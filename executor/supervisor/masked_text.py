"""A file of a run, masked byte for byte: a text that holds a secret, searched once more, or one that holds none.

It is read twice, once to decide and once to send, so that a file of any size takes no memory and no plaintext is
written anywhere. What is read the second time may be something else, so it is masked and searched like the first:
whatever is decided, only what comes out of a masker is sent.
"""

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from executor.masking.masker import Hits, Masker, Stream

FIRST = 10
"""Kinds of hits that are told of one file."""


@dataclass
class Looked:
    """What a file is once it is masked: its size in bytes, and whether it may be given.

    Places are those in the masked file: with those in the run's own they would tell how long a secret is.
    """

    given: bool
    size: int = 0
    hits: Hits = field(default_factory=dict)
    first: Hits = field(default_factory=dict)


def look(chunks: Iterable[bytes], masker: Masker) -> Looked:
    """Mask a file in which a secret was found, and search the result: it has to be text, with no form of any secret.

    Of a file that is not given the rest is not read.

    Args:
        chunks: all of it.
        masker: the run's.
    """
    looked = Looked(False)
    for _ in masked(chunks, masker, looked):
        pass
    return looked


def masked(chunks: Iterable[bytes], masker: Masker, looked: Looked) -> Iterator[bytes]:
    """Mask such a file piece by piece, twice; `looked` says in the end what it is, once all of it was taken."""
    stream, again = masker.counting(looked.hits).stream(), masker.stream()
    decoder = codecs.getincrementaldecoder("utf-8")()
    fit = True
    for once in _masked(chunks, stream):
        fit = fit and _is_text(once, decoder)
        twice = again.feed(once)
        if stream.found and (again.found or not fit):
            return
        looked.size += len(twice)
        yield twice
    rest = again.rest()
    looked.given = fit and _is_text(b"", decoder, last=True) and not again.found
    looked.size += len(rest)
    looked.first = dict(stream.first)
    yield rest


def clean(chunks: Iterable[bytes], masker: Masker, looked: Looked) -> Iterator[bytes]:
    """Do the same to a file in which no secret was found: it goes out as it is, whatever it is, and ends at one."""
    stream = masker.stream()
    for data in _masked(chunks, stream):
        if stream.found:
            return
        looked.size += len(data)
        yield data
    looked.given = True


def entries(hits: Hits, first: Hits, in_name: Hits) -> tuple[list[dict[str, object]], int]:
    """Return what was masked first, in the name and in the file, and how many hits of other kinds there are.

    Args:
        hits: in the file.
        first: where the first of each kind is in the masked file, if that is known.
        in_name: in its name.
    """
    order = sorted(hits, key=lambda origin: (first.get(origin, 0), origin))
    found: list[dict[str, object]] = [
        {"secret": name, "form": form, "count": count, "part": "name", "offset": None}
        for (name, form), count in in_name.items()
    ]
    found += [
        {"secret": origin[0], "form": origin[1], "count": hits[origin], "part": "content", "offset": first.get(origin)}
        for origin in order
    ]
    counts = [*in_name.values(), *(hits[origin] for origin in order)]
    return found[:FIRST], sum(counts[FIRST:])


def _masked(chunks: Iterable[bytes], stream: Stream) -> Iterator[bytes]:
    for data in chunks:
        yield stream.feed(data)
    yield stream.rest()


def _is_text(data: bytes, decoder: codecs.IncrementalDecoder, last: bool = False) -> bool:
    try:
        decoder.decode(data, last)
    except UnicodeDecodeError:
        return False
    return b"\0" not in data
