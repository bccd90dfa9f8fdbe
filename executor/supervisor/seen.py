"""What the masker found in an attempt: whose value, where, in which form, how often. Never a value, nor its length."""

from executor.masking.masker import Hits, Masker, Origin

LIMIT = 500
"""Entries that are told; of a run with more, the rest is summed up by place."""

STDOUT, STDERR, RESULT, PROBLEM, METRIC = "stdout", "stderr", "result", "problem", "metric"
MESSAGE, FILE, FILE_NAME = "message", "output file", "file name"
"""Places: streams and what else leaves a run. A message is a sentence of ours, such as one on a path."""

_REST = "other secrets"  # no secret's name, which has no space
_SEVERAL = "several forms"


class Seen:
    """Counts hits by place, with one masker for each place."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._hits: dict[str, Hits] = {}

    def at(self, place: str) -> Masker:
        """Return a masker that counts for a place."""
        return self._masker.counting(self._hits.setdefault(place, {}))

    def add(self, place: str, hits: Hits) -> None:
        """Count hits that were collected apart."""
        known = self._hits.setdefault(place, {})
        for origin, count in hits.items():
            known[origin] = known.get(origin, 0) + count

    def told(self) -> list[dict[str, object]]:
        """Return an entry for each place, secret and form, the most frequent first; the total is kept if it is cut."""
        found = [(count, place, origin) for place, hits in self._hits.items() for origin, count in hits.items()]
        found.sort(key=lambda one: (-one[0], one[1:]))
        rest: dict[str, int] = {}
        for count, place, _ in found[LIMIT:]:
            rest[place] = rest.get(place, 0) + count
        named = [_entry(origin, place, count) for count, place, origin in found[:LIMIT]]
        return named + [_entry((_REST, _SEVERAL), place, count) for place, count in rest.items()]


def _entry(origin: Origin, place: str, count: int) -> dict[str, object]:
    return {"secret": origin[0], "stream": place, "form": origin[1], "count": count}
