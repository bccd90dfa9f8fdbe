"""From a request to an order: all that is worked out from files and from what was asked, without a database."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar, cast

from executor.errors import RequestUnclear, RequirementsRefused
from executor.python import requirements
from executor.runs import LONGEST, retrying
from executor.schemas.order import Narrowed, Order, Wanted
from executor.schemas.run_request import RunRequest
from executor.settings import Settings
from executor.source.packing import Listing
from executor.submission import narrowing, notebook, texts
from executor.submission.context import environment_named, project_named
from executor.submission.files import Files, Python
from secretstore.errors import SealrunError

_LONGEST_KEY = 200  # characters
_NAMED = 3  # files in a note
_AS_ASKED = ("timeout", "queue_timeout", "retries", "retry_on", "output_limit", "collect", "idempotency_key")

T = TypeVar("T")


class Stage(IntEnum):
    """What a run may be refused for, in the order in which it is told. Some is found here, some beside the database."""

    SECRETS = 0
    PARAMETERS = 1
    CONNECTIONS = 2
    BOUNDS = 3
    NAMES = 4
    FILES = 5
    PLACE = 6


Refusal = tuple[Stage, SealrunError]


@dataclass(frozen=True)
class Ordered:
    """What was worked out of a request: `order` is None if something refuses it."""

    wanted: Wanted
    root: Path | None
    python: str | None
    order: Order | None
    refusals: tuple[Refusal, ...]


def of_request(settings: Settings, request: RunRequest, files: Files | None = None) -> Ordered:
    """Work out where a run would be, and all that files say of it.

    Raises:
        NoProjectNamed, FolderNotAllowed, ValueRefused, RequestUnclear: as of `place_of`.
    """
    files = files or Files(request, settings)
    return ordered(settings, request, files, place_of(settings, request, files))


def place_of(settings: Settings, request: RunRequest, files: Files) -> tuple[str, str]:
    """The project and the environment that are meant, once nothing of the request is what no row can hold.

    Raises:
        NoProjectNamed: nothing says which project is meant.
        FolderNotAllowed: the project file does, and nobody has allowed it to.
        ValueRefused, RequestUnclear: it says what no row or program can hold.
    """
    texts.check(request)
    project = project_named(settings, request.project, request.folder, files)
    environment = environment_named(settings, request.environment, request.folder, files)
    texts.check_text("the project", project)
    texts.check_text("the environment", environment)
    return project, environment


def ordered(settings: Settings, request: RunRequest, files: Files, place: tuple[str, str]) -> Ordered:
    """Work out all that files say, and collect what is missing or wrong."""
    refusals = [*_misplaced(request)]
    refusals += ((Stage.BOUNDS, one) for one in out_of_bounds(request))

    def attempted(look: Callable[[], T], stage: Stage = Stage.FILES) -> T | None:
        try:
            return look()
        except SealrunError as refusal:
            refusals.append((stage, refusal))
            return None

    found = attempted(lambda: files.located)
    root, path = found or (None, None)
    document = request.target.document(
        path,
        request.text,
        request.values,
        request.positional,
        request.sources,
        request.catalogs,
        typed=files.typed,
        programs=files.programs,
    )
    python = attempted(lambda: files.python) or Python()
    if root is not None:
        attempted(lambda: texts.check_text("the source root", str(root)))
        attempted(lambda: files.upload)
    attempted(lambda: check_setup(request.setup_secrets, python.requirements))
    if root is not None:
        wrong = (*files.understood(document, python).refusals(document), *notebook.refusals(root, document))
        refusals += ((Stage.FILES, one) for one in wrong)
    attempted(lambda: retrying.check(request.retries, request.retry_on))
    narrowed = attempted(lambda: narrowing.asked(request), Stage.PLACE)
    wanted = Wanted(
        project=place[0],
        environment=place[1],
        secrets=None if request.secrets is None else list(request.secrets),
        setup_secrets=list(request.setup_secrets),
        sources=dict(request.sources),
        catalogs=dict(request.catalogs),
        connections=request.connections,
        variables=dict(request.variables),
        narrowed=cast("Narrowed", narrowed or {}),
    )
    order = None
    if root is not None and not refusals:
        asked: dict[str, Any] = {
            **dict(wanted),
            **{name: getattr(request, name) for name in _AS_ASKED},
            "target": document,
            "source_root": str(root),
            "host": None if files.uploads else settings.host,
            "python": python.path,
            "python_version": python.version,
            "requirements": python.requirements,
            "package": files.package,
        }
        order = Order(**asked)
    return Ordered(wanted, root, python.path, order, tuple(refusals))


def with_source(order: Order, files: Files, digest: str | None) -> Order:
    """The same order with the commit of its source, and the source that was uploaded for it, if one was."""
    about = {"source_commit": files.commit.commit, "source_dirty": files.commit.dirty, "bundle": digest}
    return order.model_copy(update=about)


def told_in_order(here: Iterable[Refusal], there: Iterable[Refusal]) -> list[SealrunError]:
    """The refusals of both sides as they are told; of what is refused here already, the other side's are left out."""
    own = tuple(here)
    stages = {stage for stage, _ in own}
    others = (one for one in there if one[0] not in stages)
    return [refusal for _, refusal in sorted((*own, *others), key=lambda one: one[0])]


def notes(uploaded: Listing | None) -> Iterator[str]:
    """Yield what a submitter may want to know of what is uploaded."""
    if uploaded is not None and uploaded.unasked:
        more = len(uploaded.unasked) - _NAMED
        names = ", ".join(uploaded.unasked[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
        yield (
            f"not uploaded, as it may hold values in the clear: {names}; store them as secrets (sealrun secret import)"
            ", or take it in with a line in .sealrunignore, as in !.env"
        )


def out_of_bounds(asked: RunRequest | Order) -> Iterator[RequestUnclear]:
    """Yield a refusal for each time or key that a run cannot have."""
    for what, seconds in (("the time-out", asked.timeout), ("the queue time-out", asked.queue_timeout)):
        if seconds is not None and not 0 < seconds < LONGEST:
            yield RequestUnclear(
                "{what} must be a number of seconds above 0 and below {limit:,}", what=what, limit=LONGEST
            )
    key = asked.idempotency_key
    if key is not None and not (0 < len(key) <= _LONGEST_KEY and key.isprintable()):
        yield RequestUnclear("an idempotency key must have 1 to {limit} printable characters", limit=_LONGEST_KEY)


def check_setup(secrets: Sequence[str], installed: Mapping[str, Any] | None) -> None:
    """Refuse secrets for an installer where nothing is installed.

    Raises:
        RequirementsRefused: nothing is.
    """
    if secrets and not requirements.installs(installed):
        raise RequirementsRefused(
            "--setup-secret {name} is for the installer, but this run installs nothing",
            name=secrets[0],
            hint="leave it out, or name packages to install: --with PKG, --requirements FILE",
        )


def _misplaced(request: RunRequest) -> Iterator[Refusal]:
    """Yield why parameters cannot be data sources and catalogs."""
    if not (request.sources or request.catalogs):
        return
    if request.target.kind != "function":
        misplaced = RequestUnclear(
            "only a function can have data sources and catalogs as parameters; other targets find them by name in"
            " their environment"
        )
        yield Stage.CONNECTIONS, misplaced
        return
    if both := request.sources.keys() & request.catalogs.keys():
        twice = RequestUnclear("the parameter {name} is both a data source and a catalog", name=min(both))
        yield Stage.PARAMETERS, twice
    if both := {*request.sources, *request.catalogs} & {*request.text, *request.values}:
        yield Stage.PARAMETERS, RequestUnclear("the argument {name} is given twice", name=min(both))
