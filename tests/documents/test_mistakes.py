"""docs/how-to/mistakes.md: every mistake is made, and every word of what is said is compared."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executor.records import history
from executor.schemas.runs import RunView
from tests.documents.conftest import Reader
from tests.documents.page import Section, matches, read

SECTIONS = read("how-to/mistakes.md")
MISTAKES = [section for section in SECTIONS if section.typed]
_ID = re.compile(r"\b[0-9a-f]{8}\b")
_LONG_ID = re.compile(r"\b[0-9a-f]{32}\b")
_SHOWN = "3f9a62c1"


@pytest.fixture(scope="module")
def folder(reader: Reader) -> Path:
    """The page's source root, with a project that has a secret, and an environment whose queue nobody serves."""
    root = reader.cli.folder / "shop"
    for section in SECTIONS:
        for path, text in section.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
            (root / path).chmod(0o644)
    (root / "pyproject.toml").write_text("")
    reader.cli.ok("secret", "set", "API_KEY", stdin="hunter2-prod-key")
    reader.cli.ok("project", "create", "shop", "-e", "gpu")
    reader.cli.ok("project", "set", "shop", "-e", "gpu", "--queue", "gpu")
    return root


def test_there_are_enough() -> None:
    """No two of one name, and each says what became of it."""
    assert len(MISTAKES) >= 30
    assert len({section.slug for section in MISTAKES}) == len(MISTAKES)
    assert {section.text.split("\n")[0] for section in MISTAKES if not _ended(section)} == {"Refused."}


# Some of these mistakes need servers, so the page is walked with them.
@pytest.mark.parametrize("reader", ["servers"], indirect=True, scope="module")
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda section: section.slug)
def test_the_mistake_is_named_and_its_mend(reader: Reader, folder: Path, mistake: Section) -> None:
    """What is seen, the exit code, and the state and reason of the run, or that there is none. No traceback of ours."""
    before = latest(reader)
    with PREPARED.get(mistake.slug, contextlib.nullcontext)(*((reader, folder) if mistake.slug in PREPARED else ())):
        for typed in mistake.typed:
            seen, code = reader(_as_typed(typed.command, folder), folder)
            told = _shown(seen, folder, reader.cli.home)
            assert matches(typed.seen, told), f"$ {typed.command}\n{told}"
            assert typed.code is None or code == typed.code, told
            assert "site-packages" not in seen and "executor/" not in seen, "a traceback of ours"
    after = latest(reader)
    if ended := _ended(mistake):
        assert after is not None
        # One that waits may have been taken by a worker that looked for it meanwhile.
        taken = ended == ("pending", "") and after.state in ("running", "succeeded")
        assert taken or (after.state, after.reason or "") == ended
        assert before is None or before.id != after.id, "no run was accepted"
    else:
        same = (before and before.id) == (after and after.id)
        assert same or mistake.slug in PREPARED, "something was accepted"


def latest(reader: Reader) -> RunView | None:
    """The run that was accepted last."""
    return next(iter(history.list_runs(reader.db, limit=1)), None)


def _ended(mistake: Section) -> tuple[str, str] | None:
    """`Ends failed, setup_failed.` as the state and the reason."""
    found = re.search(r"^Ends `(\w+)`(?:, `(\w+)`)?\.", mistake.text, re.MULTILINE)
    return (found[1], found[2] or "") if found else None


def _as_typed(command: str, folder: Path) -> str:
    return command.replace("/srv/shop", str(folder))


def _shown(seen: str, folder: Path, home: Path) -> str:
    """As the page has it: its root, its home, its run."""
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", seen)
    seen = seen.replace(str(folder), "/srv/shop").replace(str(home), "~/.local/share/sealrun")
    return _LONG_ID.sub(_SHOWN, _ID.sub(_SHOWN, seen))


@contextlib.contextmanager
def _at_home(reader: Reader, folder: Path) -> Iterator[None]:
    home = reader.cli.environ["HOME"]
    reader.cli.environ["HOME"] = str(folder)
    try:
        yield
    finally:
        reader.cli.environ["HOME"] = home


@contextlib.contextmanager
def _two_gigabytes(reader: Reader, folder: Path) -> Iterator[None]:
    large = folder / "data/history.csv"
    large.parent.mkdir()
    with large.open("wb") as file:
        file.truncate(2 << 30)  # a hole: it takes no room, and nobody reads it
    try:
        yield
    finally:
        large.unlink()
        large.parent.rmdir()


@contextlib.contextmanager
def _a_link_out(reader: Reader, folder: Path) -> Iterator[None]:
    link = folder / "data"
    link.symlink_to("/etc")
    try:
        yield
    finally:
        link.unlink()


@contextlib.contextmanager
def _no_key_file(reader: Reader, folder: Path) -> Iterator[None]:
    key = reader.cli.home / "keys/local.key"
    assert key.exists(), os.listdir(reader.cli.home)
    key.rename(key.with_suffix(".away"))
    try:
        yield
    finally:
        key.with_suffix(".away").rename(key)


@contextlib.contextmanager
def _no_project(reader: Reader, folder: Path) -> Iterator[None]:
    project = reader.cli.environ.pop("SEALRUN_PROJECT")
    try:
        yield
    finally:
        reader.cli.environ["SEALRUN_PROJECT"] = project


@contextlib.contextmanager
def _a_broken_project_file(reader: Reader, folder: Path) -> Iterator[None]:
    file = folder / ".sealrun.toml"
    file.write_text("project = shop\n")
    try:
        with _no_project(reader, folder):
            yield
    finally:
        file.unlink()


@contextlib.contextmanager
def _a_strangers_project_file(reader: Reader, folder: Path) -> Iterator[None]:
    file = folder / ".sealrun.toml"
    file.write_text('project = "shop"\n')
    try:
        with _no_project(reader, folder):
            yield
    finally:
        file.unlink()


@contextlib.contextmanager
def _a_nightly_run(reader: Reader, folder: Path) -> Iterator[None]:
    seen, code = reader("sealrun run --idempotency-key nightly jobs/load.py:load orders", folder)
    assert code == 0, seen
    yield


PREPARED: dict[str, Callable[[Reader, Path], contextlib.AbstractContextManager[None]]] = {
    "a-home-folder-as-source": _at_home,
    "a-folder-that-is-too-large-to-upload": _two_gigabytes,
    "a-link-that-leads-out-of-what-is-uploaded": _a_link_out,
    "a-key-file-that-is-gone": _no_key_file,
    "no-project": _no_project,
    "a-project-file-that-cannot-be-read": _a_broken_project_file,
    "a-project-file-that-nobody-has-allowed": _a_strangers_project_file,
    "a-key-that-another-run-has": _a_nightly_run,
}
