"""`sealrun demo`: from a sealed secret to a finished run, with the product's own commands and examples."""

import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import typer

from executor.cli.here import Here, here
from executor.cli.project import create_project
from executor.cli.run import Submission, tell
from executor.cli.runs import file_line
from executor.cli.secret import seal
from executor.cli.shown import screen, verdict
from executor.cli.shown.waiting import unseen
from executor.cli.typed import options
from executor.errors import NoWorkerSeen, RunFailed, SourceIsHome
from executor.operations import runs, workers
from executor.operations.secrets import list_ as list_secrets
from executor.schemas.places import InProject
from executor.schemas.run_request import RunRequest
from executor.schemas.runs import RunView
from executor.schemas.secrets import NewSecret
from executor.source.root import PROJECT_FILE, project_file, source_root
from executor.submission import allowing
from executor.submission.context import DEFAULT_ENVIRONMENT, current_folder
from executor.submission.target import parse

app = typer.Typer(
    help="Go from a sealed secret to a finished run, on examples that ship with sealrun.",
    add_completion=False,
)

PROJECT = "shop"
DATABASE = "sqlite:///examples/shop.db"


@dataclass(frozen=True)
class Job:
    """One run of the demo: what is typed after `sealrun run -p shop`, and what it shows."""

    lesson: str
    words: tuple[str, ...]
    text: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] | None = None
    masks: bool = False

    @property
    def command(self) -> str:
        """As a user would type it."""
        options = [f"--secret {name}" for name in self.secrets or ()]
        options += [f"--arg {name}={text}" for name, text in self.text.items()]
        return " ".join(["sealrun run -p", PROJECT, *options, *self.words])


JOBS = (
    Job(
        "A job asks a database through its secret DATABASE_URL, and leaves two files.",
        ("examples/report.py", "--since", "2026-01-01"),
    ),
    Job(
        "A job prints its own secret, plain and in disguise. What leaves the run is masked.",
        ("examples/leaky.py",),
        secrets=("API_KEY",),
        masks=True,
    ),
    Job(
        "A function gets typed arguments; what it returns is the run's result.",
        ("examples/forecast.py:forecast",),
        text={"product": "TEA-SENCHA", "days": "3"},
    ),
    Job("A plain command finds the secrets in its environment too.", ("--", "sh", "examples/backup.sh")),
)


@app.command()
def demo(yes: options.NeverAsks = False) -> None:
    """Make the project "shop", seal secrets, run the examples with them, and show output, result and receipt."""
    at = here()
    current_folder()  # before anything is made, as the examples are copied below it
    if not at.at.settings.embedded:
        serving = at.ask(workers.serving)
        if not serving.live:
            raise NoWorkerSeen(since=unseen(serving))
    _heading("A project, its key pair, and secrets sealed to it")
    create_project(at, PROJECT, [])
    _seal_missing(at)
    folder = _examples(at.at.settings.store.home)
    views = [_show(at, job, folder) for job in JOBS]
    _receipt(views[0])
    _goodbye(at, folder)


def _seal_missing(at: Here) -> None:
    """Values are made up here and told to nobody; a secret that is there already is somebody's, and stays."""
    place = InProject(project=PROJECT, environment=DEFAULT_ENVIRONMENT)
    there = {secret.name for secret in at.ask(list_secrets, place)}
    values = {
        "DATABASE_URL": DATABASE,
        "API_KEY": f"demo-{secrets.token_urlsafe(24)}",
        "BACKUP_KEY": secrets.token_urlsafe(32),
    }
    for name, value in values.items():
        if name in there:
            screen.say(f"{name} is sealed already")
        else:
            places = (DEFAULT_ENVIRONMENT,)
            seal(at, NewSecret(project=PROJECT, environments=places, name=name, value=value.encode()))


def _show(at: Here, job: Job, folder: Path) -> RunView:
    _heading(job.lesson)
    screen.say(f"$ {job.command}", "bold")
    wanted = parse(list(job.words))
    given = list(job.secrets) if job.secrets is not None else None
    request = RunRequest(
        target=wanted,
        project=PROJECT,
        environment=DEFAULT_ENVIRONMENT,
        text=job.text,
        secrets=given,
        timeout=60,
        folder=folder,
    )
    prepared = at.ask(runs.prepare, request).followed()
    submission = Submission(at, lambda: at.ask(runs.accept, prepared))
    heard = _Heard()
    view = submission.follow(also=heard)
    tell(view, json=False)
    for file in view.outputs:
        screen.say(f"left: {file_line(file)}")
    if view.state != "succeeded":
        raise _unlike_its_lesson(view, verdict.sentence(view))
    if job.masks and b"***" not in heard.data:
        raise _unlike_its_lesson(view, "its output is not masked")
    return view


def _unlike_its_lesson(view: RunView, why: str) -> RunFailed:
    hint = f"see: sealrun runs show {view.id[:8]}; and: sealrun doctor"
    return RunFailed("the run of {target} did not end as it should: {why}", target=view.title, why=why, hint=hint)


def _receipt(view: RunView) -> None:
    _heading(f"The receipt of {view.title}")
    assert view.receipt is not None
    for name, told in verdict.receipt_facts(view.receipt):
        for number, line in enumerate([told] if isinstance(told, str) else told):
            screen.say(f"{name if number == 0 else '':<8}  {line}")


def _goodbye(at: Here, folder: Path) -> None:
    _heading("The key service")
    keys = at.at.settings.store.key_specs[0]
    screen.say(f"Private keys are wrapped by {keys.place}")
    if keys.kind == "local":
        screen.say("Keep a copy of it somewhere safe: losing it loses the secrets.")
    _heading("The same by hand")
    if folder != current_folder():
        screen.show(f"cd {screen.printable(_shown(folder))}")
    screen.show(f"sealrun project create {PROJECT}")
    screen.show(f"printf %s {DATABASE} | sealrun secret set DATABASE_URL -p {PROJECT}")
    screen.show(f"sealrun run -p {PROJECT} examples/report.py --since 2026-01-01")


def _examples(home: Path) -> Path:
    """The folder that has `examples/` with ours in it: this one where it has them, else a new one beside or in /tmp.

    Not a folder of sealrun's own: a run may read its source root, and neither SEALRUN_HOME nor the user's home.
    """
    here = current_folder()
    if _has_ours(here / "examples") and _may_be_root(here):
        return here
    folder = here / "sealrun-demo"
    try:
        _copy(folder, home)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="sealrun-demo-"))
        _copy(folder, home)
    screen.say(f"copied the examples to {folder}")
    return folder


def _has_ours(folder: Path) -> bool:
    return all((folder / name).is_file() and (folder / name).read_bytes() == data for name, data in _shipped())


def _may_be_root(folder: Path) -> bool:
    try:
        return source_root(folder, None) == folder.resolve()
    except SourceIsHome:
        return False


def _copy(folder: Path, home: Path) -> None:
    """Readable for everybody: a worker that is root lends a run a user id that owns nothing."""
    examples = folder / "examples"
    for place in (folder, folder / PROJECT_FILE, *folder.glob("examples"), *examples.glob("*"), *examples.glob("*/*")):
        if not (stat.S_ISREG(kind := _kind(place)) or stat.S_ISDIR(kind) or kind == 0):
            raise OSError(errno.EEXIST, "a link or a pipe: it would have us write somewhere else", str(place))
    examples.mkdir(parents=True, exist_ok=True)
    (folder / PROJECT_FILE).write_text(f'project = "{PROJECT}"\n')
    allowing.allow(home, project_file(folder))
    for name, data in _shipped():
        (examples / name).parent.mkdir(exist_ok=True)
        (examples / name).write_bytes(data)
        (examples / name).chmod(0o644)
    (folder / PROJECT_FILE).chmod(0o644)
    for place in (folder, examples, *(path for path in examples.iterdir() if path.is_dir())):
        place.chmod(0o755)


def _kind(path: Path) -> int:
    """What kind of file is there, links unfollowed; 0 where there is none."""
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return 0


def _shipped() -> Iterator[tuple[str, bytes]]:
    """In a wheel beside this package, in a checkout beside its root."""
    package = Path(__file__).resolve().parent.parent
    found = package / "examples" if (package / "examples").is_dir() else package.parent / "examples"
    for path in sorted((*found.glob("*"), *found.glob("*/*"))):
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".pyc":
            yield str(path.relative_to(found)), path.read_bytes()


def _shown(folder: Path) -> str:
    here = current_folder()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)


def _heading(text: str) -> None:
    screen.say("")
    screen.say(text, "bold")


class _Heard:
    """The output of one run, to see that the masker was at work."""

    def __init__(self) -> None:
        self.data = b""

    def __call__(self, data: bytes) -> None:
        self.data += data
