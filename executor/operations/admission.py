"""Whether who asks may do this there: the one place where a request is held against the table of rights.

Doors that know who asks call it before they carry an operation out; whoever holds the database's URL has all rights.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from executor.errors import Forbidden
from executor.operations.deployment import Deployment
from executor.operations.rights import RIGHTS, Right
from executor.people.places import find_place
from executor.people.principal import INSTALLATION, KnownActor, Place, Principal
from executor.people.reads import record_read
from executor.people.sight import Sight
from executor.records import history
from executor.schemas.places import Input
from secretstore import vault

Asked = TypeVar("Asked", bound=Input | None)


def admit(at: Deployment, who: KnownActor, operation: str, asked: Asked) -> Asked:
    """Let an operation be carried out, or refuse it; what is asked, with its runs named by their whole ids.

    What somebody reads of what runs left goes on record first.

    Raises:
        UnknownProject, UnknownEnvironment, UnknownRun: who asks sees nothing there, or there is nothing.
        Forbidden: who asks sees the place, and may not do this.
        CredentialAsked: a browser has to prove again who it is.
    """
    right = RIGHTS[operation]
    if right.place == "own":
        return asked
    asked = _with_whole_ids(at, who, asked)
    for place in _places(at, who, right, asked):
        if right.place == "somewhere" and place.environment_id is None:
            _require_somewhere(who.principal, right, place)
        else:
            who.principal.require(*right.verbs_for(asked), at=place)
    if "follow" in right.verbs:
        what = operation.partition(".")[2].rstrip("_")
        for run in _runs(asked):
            record_read(at.db, who, Place(*history.place_of(at.db, run)), run, what)
    if right.fresh(asked):
        who.principal.require_fresh(operation.replace("_", " ").replace(".", ": ").rstrip())
    return asked


def visible(
    at: Deployment, who: KnownActor, operation: str, asked: Input | None, found: Sequence[Any]
) -> Sequence[Any]:
    """What of a listing lies where who asks may see it."""
    right = RIGHTS[operation]
    project = getattr(asked, "project", None)
    if right.place != "somewhere" or project is None or getattr(asked, "environment", None) is not None:
        return found  # what is over all projects asks for those places alone
    place = find_place(at.db, who.principal, project)
    assert place.project_id is not None, "a project that was found has an id"
    within = who.principal.environments(right.verbs[0], place.project_id)
    if within is None:
        return found
    names = {one.name for one in vault.list_environments(at.db, project) if one.id in within}
    return [one for one in found if one.environment in names]


def _places(at: Deployment, who: KnownActor, right: Right, asked: Input | None) -> Iterator[Place]:
    """Every place that the verbs have to hold for."""
    for run in _runs(asked):
        yield Place(*history.place_of(at.db, run))
    if nested := getattr(asked, "items", None) or [one for one in [getattr(asked, "wanted", None)] if one is not None]:
        for one in nested:
            yield from _places(at, who, right, one)
        return
    project = getattr(asked, "project", None)
    if project is None and right.place == "project":
        project = getattr(asked, "name", None)  # of what is asked of a project itself
    named = getattr(asked, "environments", None) or [getattr(asked, "environment", None)]
    if _runs(asked) and named == [None]:
        return  # its project is known by the run
    if right.place == "installation" or project is None:
        yield INSTALLATION
        return
    for environment in [None] if right.place == "project" else named:
        yield find_place(at.db, who.principal, project, environment)


def _runs(asked: Input | None) -> Sequence[str]:
    one = getattr(asked, "run", None)
    return (one,) if isinstance(one, str) else tuple(getattr(asked, "runs", ()))


def _with_whole_ids(at: Deployment, who: KnownActor, asked: Asked) -> Asked:
    """What is asked, with the ids of its runs in full: what is admitted is then what is done."""
    references = _runs(asked)
    if asked is None or not references:
        return asked
    project = getattr(asked, "project", None)
    project_id = find_place(at.db, who.principal, project).project_id if project is not None else None
    sight = Sight.of(who, "see")
    ids = [history.find(at.db, one, project_id, sight) for one in references]
    return asked.model_copy(update={"run": ids[0]} if hasattr(asked, "run") else {"runs": tuple(ids)})


def _require_somewhere(principal: Principal, right: Right, place: Place) -> None:
    if place.project_id is None:
        return  # over all projects: it shows those alone that who asks may see
    for verb in right.verbs:
        if not principal.may_somewhere(verb, place.project_id):
            raise Forbidden(name=principal.name, verb=verb, place=place.shown)
