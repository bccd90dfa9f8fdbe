"""A masker that is slow and plain: it looks at each place of a whole text for each needle."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from executor.masking.masker import Origin


@dataclass
class Masked:
    """What a whole text becomes, and what is told of it."""

    text: bytes = b""
    hits: dict[Origin, int] = field(default_factory=dict)
    first: dict[Origin, int] = field(default_factory=dict)


def masked(text: bytes, needles: Mapping[bytes, tuple[Origin, ...]]) -> Masked:
    """Mask a text: the longest needle at each place; what overlaps or touches becomes one mask.

    A needle within another one of the same secret is no hit of its own.
    """
    done = Masked()
    at, around, mask = 0, b"", -1  # what is masked or copied ends here; the needle that reaches so far; the last mask
    for place in range(len(text)):
        here = [needle for needle in needles if text.startswith(needle, place)]
        if not here:
            continue
        needle = max(here, key=len)
        end = place + len(needle)
        if mask < 0 or place > at:
            done.text += text[at:place]
            mask = len(done.text)
            done.text += b"***"
        for origin in needles[needle]:
            own = {name for name, _ in needles[around]} if around and end <= at else set()
            if origin[0] not in own:
                done.hits[origin] = done.hits.get(origin, 0) + 1
                done.first.setdefault(origin, mask)
        if end > at:
            at, around = end, needle
    done.text += text[at:]
    return done
