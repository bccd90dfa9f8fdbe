"""docs/start/entrypoints.md: its commands as printed, and every combination its tables promise, on real workers."""

import subprocess
from pathlib import Path

import pytest

from executor.celery_app import make_app
from executor.records import history, logs
from executor.schemas.run_request import RunRequest
from executor.settings import read_settings
from executor.submission import submit
from executor.submission.specification import specify
from executor.submission.target import parse
from tests.documents.conftest import Reader
from tests.documents.index import Index
from tests.documents.page import matches, read
from tests.processes import eventually
from tests.rig import PATIENCE, job_python

PAGE = {section.title: section for section in read("start/entrypoints.md")}
JOB = """
import sys
try:
    from humanize import intcomma
except ImportError:
    intcomma = str
def probe():
    return seen()
def seen():
    return [intcomma(1234567), sys.prefix]
if __name__ == "__main__":
    print(*seen())
"""
SCRIPT = '# /// script\n# dependencies = ["humanize==4.9.0"]\n# ///\n' + JOB
PROJECT = '[project]\nname = "jobs"\nversion = "1"\ndependencies = ["humanize==4.9.0"]\n'


def table(title: str) -> dict[str, dict[str, str]]:
    """The table of a section: first cell of a row to the rest, by heading."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE[title].text.splitlines()
        if line.startswith("|") and not line.startswith("| ---")
    ]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}


KINDS = ("file", "module", "function", "command")
PYTHONS = table("Under which Python")


@pytest.fixture(scope="module")
def page_folder(reader: Reader) -> Path:
    """The page's own files."""
    folder = reader.cli.folder / "page"
    for path, text in PAGE["The four kinds"].files.items():
        written(folder / path, text.removesuffix("\n") if text == "\n" else text)
    written(folder / ".sealrun.toml", "")
    return folder


@pytest.mark.parametrize("number", range(len(PAGE["The four kinds"].typed)))
@pytest.mark.parametrize("source", [pytest.param("--no-bundle", marks=pytest.mark.long), "--bundle"])
def test_the_page_shows_what_happens(reader: Reader, page_folder: Path, number: int, source: str) -> None:
    """Each command, from the folder and from a bundle."""
    typed = PAGE["The four kinds"].typed[number]
    command = typed.command.replace("sealrun run", f"sealrun run {source}", 1)
    seen, code = reader(command, page_folder)
    assert (code, matches(typed.seen, seen)) == (0, True), f"$ {command}\n{seen}"


def test_the_tables_name_what_there_is() -> None:
    """A row that is added to the page has to be added here."""
    assert PYTHONS.keys() == MADE.keys()
    assert [row["chosen by"].split(";")[-1].strip(" `") for row in table("From which source").values()] == [
        "--no-bundle",
        "--bundle",
    ]


@pytest.mark.parametrize("name", list(PYTHONS))
def test_every_combination_runs(reader: Reader, index: Index, name: str) -> None:
    """A Python with each kind of target, from a folder and from a bundle: as the table says."""
    settings, db = read_settings(reader.cli.environ), reader.db
    app = make_app(settings)
    folder = reader.cli.folder / f"combined-{name.replace(' ', '-')}"
    asked = MADE[name](folder, index)
    written(folder / "job.py", SCRIPT if name == "a script's own" else JOB)
    written(folder / "pkg/__init__.py", "")
    written(folder / "pkg/__main__.py", JOB)
    written(folder / ".sealrun.toml", "")
    words = {
        "file": ["job.py"],
        "module": ["-m", "pkg"],
        "function": ["job.py:probe"],
        "command": ["--", "python3", "job.py"],
    }
    accepted: dict[tuple[str, str], str] = {}
    try:
        for source in ("folder", "bundle"):
            for kind in KINDS:
                if PYTHONS[name][kind] == PYTHONS[name][source] == "yes":
                    request = RunRequest(
                        target=parse(words[kind]),
                        project="shop",
                        folder=folder,
                        search_path=reader.cli.environ["PATH"],
                        bundle=source == "bundle",
                        timeout=PATIENCE,
                        **asked,
                    )
                    accepted[kind, source] = submit.submit(
                        db, app, specify(db, settings, request).spec, "tester"
                    ).run_id
        for which, run_id in accepted.items():
            eventually(lambda run_id=run_id: history.show(db, run_id).over, PATIENCE, str(which))
            view = history.show(db, run_id)
            pieces, _ = logs.read(db, run_id)
            printed = b"".join(piece.data for piece in pieces).decode()
            assert view.state == "succeeded", f"{which}: {view.message}\n{printed}"
            number, prefix = view.result if view.result else printed.split()[-2:]
            assert number == ("1234567" if name in PLAIN else "1,234,567"), f"{which}: {printed}"
            assert Path(prefix).is_relative_to(EXPECTED[name](folder, reader)), f"{which}: {prefix}"
    finally:
        app.close()


def nothing(folder: Path, index: Index) -> dict[str, object]:
    return {}


def version(folder: Path, index: Index) -> dict[str, object]:
    return {"python": "{}.{}".format(*_version())}


def interpreter(folder: Path, index: Index) -> dict[str, object]:
    return {"python": job_python()}


def packages(folder: Path, index: Index) -> dict[str, object]:
    return {"packages": ["humanize==4.9.0"]}


def named_file(folder: Path, index: Index) -> dict[str, object]:
    written(folder / "needed/jobs.txt", "humanize==4.9.0\n")
    return {"requirements_file": str(folder / "needed/jobs.txt")}


def requirements(folder: Path, index: Index) -> dict[str, object]:
    written(folder / "requirements.txt", "humanize==4.9.0\n")
    return {}


def project(folder: Path, index: Index) -> dict[str, object]:
    written(folder / "pyproject.toml", PROJECT)
    return {}


def lock(folder: Path, index: Index) -> dict[str, object]:
    import uv

    written(folder / "pyproject.toml", PROJECT)
    command = [
        uv.find_uv_bin(),
        "lock",
        "--default-index",
        index.url,
        "--python",
        job_python(),
        "--no-cache",
        "--quiet",
    ]
    subprocess.run(command, check=True, cwd=folder)
    (folder / "uv.lock").chmod(0o644)
    return {}


def own_venv(folder: Path, index: Index) -> dict[str, object]:
    folder.mkdir(parents=True)
    subprocess.run([job_python(), "-m", "venv", "--without-pip", str(folder / ".venv")], check=True)
    site = next((folder / ".venv/lib").glob("python*/site-packages"))
    written(site / "humanize.py", "def intcomma(number):\n    return f'{number:,}'\n")
    return {}


MADE = {
    "an interpreter": interpreter,
    "packages": packages,
    "a requirements file": named_file,
    "a script's own": nothing,
    "a version": version,
    "the folder's": own_venv,
    "a lock": lock,
    "a project": project,
    "requirements": requirements,
    "the system's": nothing,
}
PLAIN = ("an interpreter", "a version", "the system's")


def built(folder: Path, reader: Reader) -> Path:
    return Path(reader.cli.environ["SEALRUN_CACHE"])


EXPECTED = dict.fromkeys(MADE, built) | {
    "an interpreter": lambda folder, reader: Path("/usr"),
    "a version": lambda folder, reader: Path("/usr"),
    "the folder's": lambda folder, reader: folder / ".venv",
    "the system's": lambda folder, reader: Path("/usr"),
}


def written(path: Path, text: str) -> None:
    """A file that the user ids lent to runs can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)


def _version() -> tuple[str, str]:
    asked = [job_python(), "-c", "import sys; print(*sys.version_info[:2])"]
    major, minor = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    return major, minor
