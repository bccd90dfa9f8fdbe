"""What a run would see, without submitting it: no key is used and no value is opened."""

from executor.explain.preview import preview
from executor.operations.deployment import Deployment
from executor.runs.grant import Asked
from executor.runs.spec import mapped
from executor.runs.unopened import unopened
from executor.schemas.explanation import Explain, Explanation, Refused, Seen
from executor.submission.narrowing import described
from executor.submission.specification import examine
from secretstore import vault
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
    names, notes = seen.names, seen.notes
    if run.setup_secrets or seen.for_connections or seen.with_opener or any(one.kind == "secret" for one in names):
        notes += tuple(unopened(at.db, place.id))
    if examined.spec is not None and examined.spec.package is not None:
        names += (Seen("PYTHONPATH", "sealrun", "sealrun, where the run's Python does not have the project installed"),)
    return Explanation(
        project=place.project,
        environment=place.name,
        source_root=None if examined.root is None else str(examined.root),
        python=examined.python,
        limits=described(vault.get_project(at.db, place.project)),
        **vars(seen)
        | {
            "names": names,
            "notes": notes,
            "refusals": tuple(dict.fromkeys(map(Refused.by, (*examined.refusals, *seen.refusals)))),
        },
    )
