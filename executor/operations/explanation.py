"""What a run would see, without submitting it: no key is used and no value is opened."""

from executor.explain.preview import preview
from executor.operations.deployment import Deployment
from executor.runs.grant import Asked
from executor.runs.spec import mapped
from executor.schemas.explanation import Explain, Explanation, Refused, Seen
from executor.submission.specification import examine
from secretstore.audit import Actor


def explain(at: Deployment, who: Actor, asked: Explain) -> Explanation:
    """The names that a run would see, where each comes from, and all that would refuse the run.

    Raises:
        NoProjectNamed, UnknownProject, UnknownEnvironment: without a place there is nothing to look up.
    """
    run = asked.run
    examined = examine(at.db, at.settings, run)
    place = examined.place
    given = Asked(mapped(run.sources, run.catalogs), run.secrets, connections=run.connections)
    seen = preview(at.db, place.project, place.name, layers=asked.layers, asked=given)
    names = seen.names
    if examined.spec is not None and examined.spec.package is not None:
        names += (Seen("PYTHONPATH", "sealrun", "sealrun, where the run's Python does not have the project installed"),)
    return Explanation(
        project=place.project,
        environment=place.name,
        source_root=None if examined.root is None else str(examined.root),
        python=examined.python,
        **vars(seen)
        | {"names": names, "refusals": tuple(dict.fromkeys(map(Refused.by, (*examined.refusals, *seen.refusals))))},
    )
