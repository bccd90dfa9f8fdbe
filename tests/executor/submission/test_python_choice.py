"""Which Python a run is submitted with: the nearest word counts; and which ones a worker offers."""

import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executor import runs
from executor.errors import FileUnreadable, PythonUnavailable, RequirementsRefused
from executor.models import RunSpec
from executor.python import interpreters
from executor.python.interpreters import Interpreter, Interpreters
from executor.runs import Offer
from executor.schemas.run_request import RunRequest
from executor.schemas.target import Target
from executor.submission.specification import examine, specify
from secretstore.errors import UnknownSecret
from tests.rig import Rig, rig

BLOCK = '# /// script\n# requires-python = ">=3.9"\n# dependencies = ["sr-script"]\n# ///\n'
PYPROJECT = '[project]\nname = "x"\nversion = "1"\ndependencies = ["sr-project"]\n'


@pytest.fixture(scope="module")
def desk() -> Iterator[Rig]:
    with rig() as made:
        made.project("shop", {"TOKEN": b"hunter2-token-5417"})
        yield made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A source root with a job, and a search path with a python3."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/job.py").write_text("")
    (tmp_path / "jobs/.sealrun.toml").write_text("")
    program(tmp_path / "bin/python3")
    return tmp_path / "jobs"


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\x7fELF")
    path.chmod(0o755)
    return path


def asked(desk: Rig, root: Path, target: Target | None = None, **fields: Any) -> RunSpec:
    request = RunRequest(
        target=target or Target("file", path="job.py"),
        project="shop",
        environment="default",
        folder=root,
        search_path=str(root.parent / "bin"),
        **fields,
    )
    return specify(desk.db, desk.settings, request).spec


def built_of(spec: RunSpec) -> str:
    """What the environment is built of, in short; empty where none is."""
    if spec.requirements is None:
        return ""
    files = "".join(spec.requirements["files"].values())
    found = [word for word in ("sr-script", "sr-project", "sr-file", "sr-list") if word in files]
    return " ".join([*found, *spec.requirements["with"]])


def test_the_nearest_word_counts(desk: Rig, root: Path) -> None:
    """The block of the script, --requirements over it, the source's .venv, its files; --with comes on top of each."""
    assert (asked(desk, root).python, built_of(asked(desk, root))) == (str(root.parent / "bin/python3"), "")
    (root / "requirements.txt").write_text("sr-file\n")
    assert built_of(asked(desk, root)) == "sr-file" and asked(desk, root).python is None
    assert built_of(asked(desk, root, Target("command", argv=("pytest",)))) == "sr-file"
    (root / "pyproject.toml").write_text(PYPROJECT)
    assert built_of(asked(desk, root, packages=["sr-more"])) == "sr-project sr-more"
    (root / ".sealrun.toml").write_text('dependencies = ["sr-list"]\n')
    assert built_of(asked(desk, root)) == "sr-list"
    (root / ".sealrun.toml").write_text("dependencies = []\n")
    assert built_of(asked(desk, root)) == "" and asked(desk, root).python is not None
    (root / ".sealrun.toml").write_text("")
    venv = program(root / ".venv/bin/python")
    assert (asked(desk, root).python, asked(desk, root).requirements) == (str(venv), None)
    assert built_of(asked(desk, root, bundle=True)) == "sr-project"
    assert built_of(asked(desk, root, packages=["sr-more"])) == "sr-project sr-more"
    assert built_of(asked(desk, root, python="3.11")) == "sr-project"
    (root / "job.py").write_text(f"{BLOCK}\ndef f(): ...\n")
    assert built_of(asked(desk, root)) == "sr-script"
    assert built_of(asked(desk, root, packages=["sr-more"])) == "sr-script sr-more"
    assert built_of(asked(desk, root, Target("function", path="job.py", name="f"))) == "sr-script"
    assert built_of(asked(desk, root, Target("module", name="job"))) == ""
    assert built_of(asked(desk, root, requirements_file="requirements.txt")) == "sr-file"


def test_what_names_nothing_counts_like_any_other(desk: Rig, root: Path) -> None:
    """A block and a --requirements file come before .venv, whatever they name; there is nothing to give a secret to."""
    program(root / ".venv/bin/python")
    (root / "empty.txt").write_text("# nothing\n")
    asked_for = [asked(desk, root, requirements_file="empty.txt")]
    for said in ("dependencies = []", 'requires-python = ">=3.11"'):
        (root / "job.py").write_text(f"# /// script\n# {said}\n# ///\n")
        asked_for.append(asked(desk, root))
    assert [(one.python, one.requirements is None) for one in asked_for] == [(None, False)] * 3
    assert [one.requirements["requires_python"] for one in asked_for if one.requirements] == [None, None, ">=3.11"]
    with pytest.raises(RequirementsRefused, match="installs nothing"):
        asked(desk, root, setup_secrets=["TOKEN"])


def test_a_path_is_used_as_it_is(desk: Rig, root: Path) -> None:
    """Nothing is installed for it, whatever the source says; to ask for that is a mistake."""
    (root / "job.py").write_text(f"{BLOCK}\ndef f(): ...\n")
    python = program(root.parent / "own/bin/python")
    for wanted in (str(python), str(root.parent / "own")):
        spec = asked(desk, root, python=wanted)
        assert (spec.python, spec.python_version, spec.requirements) == (str(python), None, None)
    with pytest.raises(RequirementsRefused, match="no packages are installed for it"):
        asked(desk, root, python=str(python), packages=["sr-more"])
    with pytest.raises(PythonUnavailable, match="python3 is not an executable"):
        asked(desk, root, python="python3")


def test_a_version_is_matched_by_the_claim(desk: Rig, root: Path) -> None:
    """With or without its last part; alone it needs no environment."""
    spec = asked(desk, root, python="3.12")
    assert (spec.python, spec.python_version, spec.requirements) == (None, "3.12", None)
    assert asked(desk, root, python="3.12.4", packages=["sr-more"]).python_version == "3.12.4"
    run_id = runs.accept(desk.db, spec, "tester").run_id
    for pythons, taken in (((), False), (("3.11", "3.11.2"), False), (("3.12", "3.12.4"), True)):
        offer = Offer("w", desk.settings.host, ("sealrun",), "landlock", pythons=pythons)
        assert (runs.claim(desk.db, run_id, offer, 30) is not None) == taken


def test_secrets_for_the_installer_are_looked_up(desk: Rig, root: Path) -> None:
    """One that is not there, and one where nothing is installed, are mistakes; all of them are told at once."""
    spec = asked(desk, root, packages=["sr-more"], setup_secrets=["TOKEN"])
    assert spec.setup_secret_names == ["TOKEN"]
    with pytest.raises(RequirementsRefused, match="--setup-secret TOKEN is for the installer"):
        asked(desk, root, setup_secrets=["TOKEN"])
    request = RunRequest(
        target=Target("file", path="job.py"),
        project="shop",
        environment="default",
        setup_secrets=["NOT"],
        python="/no",
        folder=root,
    )
    refusals = examine(desk.db, desk.settings, request).refusals
    assert [type(one) for one in refusals] == [UnknownSecret, PythonUnavailable, RequirementsRefused]
    with pytest.raises(FileUnreadable, match="no such file"):
        asked(desk, root, requirements_file="gone.txt")
    with pytest.raises(FileUnreadable, match="it is a folder"):
        asked(desk, root, requirements_file="../bin")


# What a worker offers -----------------------------------------------------------------------------


def of(*versions: str) -> Interpreters:
    return Interpreters(tuple(Interpreter(Path(f"/nowhere/{version}"), version) for version in versions))


def test_the_first_is_taken_unless_something_speaks_against_it() -> None:
    """A version asked for, or requires-python; then it is the newest that will do."""
    pythons = of("3.11.2", "3.12.1", "3.13.0", "3.12.9")
    assert pythons.offered == ("3.13", "3.13.0", "3.12", "3.12.9", "3.12.1", "3.11", "3.11.2")
    for version, requires, found in (
        (None, None, "3.11.2"),
        (None, ">=3.12,<3.13", "3.12.9"),
        ("3.12", None, "3.12.1"),
        ("3.12", ">3.12.1", "3.12.9"),
        ("3.13.0", ">=3", "3.13.0"),
    ):
        assert pythons.choose(version, {"requires_python": requires}).version == found
    with pytest.raises(PythonUnavailable, match=r"no Python 3\.10; it has 3\.11\.2, 3\.12\.1"):
        pythons.choose("3.10", None)
    with pytest.raises(PythonUnavailable, match=r"requires-python >=3\.14 allows"):
        pythons.choose(None, {"requires_python": ">=3.14"})
    with pytest.raises(PythonUnavailable, match="none other than sealrun's own"):
        of().choose(None, None)


def test_interpreters_are_found_where_they_are_installed(tmp_path: Path) -> None:
    """On the search path, and where uv keeps its own; no script, nothing that is no Python, nothing unusable."""
    real = Path(sys.executable).resolve()
    version = sys.version.split()[0]
    key = f"cpython-{version}-linux-{platform.machine()}-gnu"
    managed = tmp_path / f".local/share/uv/python/{key}/bin/python3.{sys.version_info.minor}"
    managed.parent.mkdir(parents=True)
    managed.symlink_to(real)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3.9").symlink_to("/bin/true")
    (tmp_path / "bin/python3.10").write_text("#!/bin/sh\necho 3.10.1 cpython\n")
    (tmp_path / "bin/python3.10").chmod(0o755)
    found = interpreters.find(f"{tmp_path}/bin", tmp_path, lambda path: path == managed)
    assert [one.path for one in found.found] == [managed]
    assert found.offered == (f"3.{sys.version_info.minor}", sys.version.split()[0])
    everything = interpreters.find(f"{tmp_path}/bin:/usr/bin", tmp_path, lambda path: True)
    assert not {path.path.parent for path in everything.found} & {tmp_path / "bin", Path(sys.prefix) / "bin"}
    assert interpreters.find(f"{tmp_path}/bin", tmp_path, lambda path: False).offered == ()
