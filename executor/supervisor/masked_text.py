"""A text file of a run that holds a secret: masked byte for byte, and searched once more before any of it is sent.

It is read twice, once to decide and once to send, so that a file of any size takes no memory and no plaintext is
written anywhere.
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
    hits: Hits = {}
    stream, again = masker.counting(hits).stream(), masker.stream()
    decoder = codecs.getincrementaldecoder("utf-8")()
    size, fit = 0, True
    for masked in _masked(chunks, stream):
        size += len(masked)
        fit = fit and _is_text(masked, decoder)
        again.feed(masked)
        if stream.found and (again.found or not fit):
            return Looked(False, hits=hits)
    again.rest()
    fit = fit and _is_text(b"", decoder, last=True) and not again.found
    return Looked(fit, size, hits, dict(stream.first))


def masked(chunks: Iterable[bytes], masker: Masker) -> Iterator[bytes]:
    """Mask a file piece by piece."""
    return _masked(chunks, masker.stream())


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
