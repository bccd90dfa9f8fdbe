"""What a run would see: what its place says and what the submitter's files say, put together."""

from dataclasses import replace

from executor.schemas.explanation import Explanation, Foreseen, Seen
from executor.schemas.refusal import Refused
from executor.submission.ordering import Ordered, Stage, told_in_order

_PACKAGE = Seen("PYTHONPATH", "sealrun", "sealrun, where the run's Python does not have the project installed")


def explained(made: Ordered, foreseen: Foreseen) -> Explanation:
    """The whole of it; each reason to refuse the run once, in the order in which it is told."""
    seen = foreseen.explanation
    there = ((Stage(one.stage), one.refused.error) for one in foreseen.looked_up)
    refused = told_in_order(made.refusals, there)
    installs = not refused and made.order is not None and made.order.package is not None
    return replace(
        seen,
        source_root=None if made.root is None else str(made.root),
        python=made.python,
        names=(*seen.names, _PACKAGE) if installs else seen.names,
        refusals=tuple(dict.fromkeys((*map(Refused.by, refused), *seen.refusals))),
    )
