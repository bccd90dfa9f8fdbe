"""What a run would see, without submitting it: no key is used and no value is opened."""

from executor.explain.preview import preview
from executor.operations.deployment import Deployment
from executor.runs.grant import Asked
from executor.runs.spec import mapped
from executor.runs.unopened import unopened
from executor.schemas.explanation import Explain, Explanation, Foresee, Foreseen
from executor.schemas.order import Staged
from executor.schemas.refusal import Refused
from executor.submission.explained import explained
from executor.submission.narrowing import described
from executor.submission.ordering import of_request
from executor.submission.specification import look_up
from secretstore.audit import Actor


def explain(at: Deployment, who: Actor, asked: Explain) -> Explanation:
    """The names that a run would see, where each comes from, and all that would refuse the run.

    Raises:
        NoProjectNamed, UnknownProject, UnknownEnvironment: without a place there is nothing to look up.
    """
    made = of_request(at.settings, asked.run)
    return explained(made, foresee(at, who, Foresee(wanted=made.wanted, layers=asked.layers)))


def foresee(at: Deployment, who: Actor, asked: Foresee) -> Foreseen:
    """The part of it that its place says, and not the submitter's files.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    run = asked.wanted
    found = look_up(at.db, run)
    place = found.place
    given = Asked(mapped(run.sources, run.catalogs), run.secrets, connections=run.connections)
    seen = preview(at.db, place.project, place.name, layers=asked.layers, asked=given)
    notes = seen.notes
    if run.setup_secrets or seen.for_connections or seen.with_opener or any(one.kind == "secret" for one in seen.names):
        notes += tuple(unopened(at.db, place.id))
    explanation = Explanation(
        project=place.project,
        environment=place.name,
        source_root=None,
        python=None,
        limits=described(found.project),
        **vars(seen) | {"notes": notes, "refusals": tuple(map(Refused.by, seen.refusals))},
    )
    return Foreseen(explanation, tuple(map(Staged.by, found.refusals)))
