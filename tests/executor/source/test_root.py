"""Where a run's code is: the root it is read from, the target in it, and the project it belongs to."""

from pathlib import Path

import pytest

from executor.errors import FileInvalid, SourceIsHome, TargetUnusable
from executor.sandbox import folders
from executor.source import root
from executor.source.root import ProjectFile, project_file, relative_target, source_root
from secretstore.pin import Pin
from tests.executor.conftest import ROOT, OrdinaryUser


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of a user of this test."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def tree(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


# The root -----------------------------------------------------------------------------------------


def test_the_root_is_the_nearest_marked_folder(home: Path) -> None:
    """With `.sealrun.toml` or `pyproject.toml`, whichever is nearer; without one, the folder itself."""
    shop = tree(home / "shop", "pyproject.toml", "jobs/.sealrun.toml", "jobs/deep/job.py", "lib/x/y.py")
    assert source_root(shop / "jobs/deep", None) == shop / "jobs"
    assert source_root(shop / "lib/x", None) == shop
    plain = tree(home / "plain", "job.py")
    assert source_root(plain, "job.py") == plain
    # A folder of that name is no mark.
    (plain / "a/.sealrun.toml").mkdir(parents=True)
    assert source_root(plain / "a", None) == plain / "a"


def test_a_target_elsewhere_has_a_root_of_its_own(home: Path) -> None:
    """Looked for from its folder upwards; it does not drag the folder one stands in along."""
    here = tree(home / "here", "pyproject.toml", "job.py")
    other = tree(home / "other", "pyproject.toml", "sub/job.py")
    lone = tree(home / "lone", "job.py")
    assert source_root(here, "job.py") == here
    assert source_root(here, str(other / "sub/job.py")) == other
    assert source_root(here, "../lone/job.py") == lone
    (here / "link.py").symlink_to(other / "sub/job.py")
    assert source_root(here, "link.py") == other


@pytest.mark.parametrize("path", ["gone.py", "sub", "sub/../gone.py", "", "job.py/x", "x\0y"])
def test_a_target_that_is_no_file_is_told(home: Path, path: str) -> None:
    """With the path as it was given and the root it was looked for in."""
    here = tree(home / "here", "job.py", "sub/other.py")
    with pytest.raises(TargetUnusable) as caught:
        source_root(here, path)
    assert path in str(caught.value) and str(here) in (caught.value.hint or "")


def test_a_whole_home_is_no_source(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a home nor what holds one, by whichever name; what lies beneath is fine."""
    tree(home, "job.py", "jobs/job.py")
    for folder in (home, home.parent, Path("/")):
        with pytest.raises(SourceIsHome):
            source_root(folder, None)
    with pytest.raises(SourceIsHome):
        source_root(home / "jobs", "../job.py")
    (home.parent / "alias").symlink_to(home)
    monkeypatch.setenv("HOME", str(home.parent / "alias"))
    with pytest.raises(SourceIsHome):
        source_root(home, None)
    assert source_root(home / "jobs", None) == home / "jobs"


def test_a_home_from_the_user_database_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HOME may say anything, as under sudo."""
    real = next(iter(root._homes()))
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(SourceIsHome):
        source_root(real, None)
    monkeypatch.delenv("HOME")
    with pytest.raises(SourceIsHome):
        source_root(real, None)


def test_i3_a_home_of_another_account_is_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is root could read it; what lies beneath is fine."""
    bobs = tree(tmp_path / "accounts/bob", "job.py", "jobs/job.py")
    monkeypatch.setattr(folders, "_homes", lambda: frozenset({bobs}))
    for folder in (bobs, bobs.parent):
        with pytest.raises(SourceIsHome, match="a run must not read a whole home folder"):
            source_root(folder, None)
    assert source_root(bobs / "jobs", "job.py") == bobs / "jobs"


def test_a_targets_path_is_relative_to_the_root(home: Path) -> None:
    """As the run will use it; out of the root it is refused, by `..` or a link."""
    shop = tree(home / "shop", "sub/job.py", "top.py")
    tree(home, "else.py")
    assert relative_target(shop, shop / "sub", "job.py") == "sub/job.py"
    assert relative_target(shop, shop / "sub", "../top.py") == "top.py"
    assert relative_target(shop, shop, str(shop / "sub/job.py")) == "sub/job.py"
    (shop / "link.py").symlink_to(home / "else.py")
    for path in ("../else.py", "link.py", str(home / "else.py")):
        with pytest.raises(TargetUnusable, match="is outside the source root"):
            relative_target(shop, shop, path)


# The project file ---------------------------------------------------------------------------------


def test_a_project_file_names_project_and_environment(home: Path) -> None:
    """The nearest: `.sealrun.toml` before `pyproject.toml` in one folder; a pyproject without our table is passed."""
    shop = home / "shop"
    tree(shop, "a/b/c/job.py")
    assert project_file(shop) == ProjectFile()
    (shop / "pyproject.toml").write_text('[tool.sealrun]\nproject = "general"\n')
    assert project_file(shop / "a") == ProjectFile("general")
    (shop / ".sealrun.toml").write_text('project = "shop"\nenvironment = "dev"\n')
    assert project_file(shop / "a/b/c") == ProjectFile("shop", "dev")
    (shop / "a/pyproject.toml").write_text('[project]\nname = "x"\n[tool.ruff]\n')
    assert project_file(shop / "a/b/c") == ProjectFile("shop", "dev")
    (shop / "a/b/.sealrun.toml").touch()
    assert project_file(shop / "a/b/c") == ProjectFile()


def test_a_project_file_pins_key_pairs(home: Path) -> None:
    """By environment, in either of the two places: ids, generation and fingerprint."""
    pin = Pin("1" * 32, "2" * 32, 3, "0f" * 32)
    for name, head in ((".sealrun.toml", ""), ("pyproject.toml", "tool.sealrun")):
        table = f"[{head}]\n" if head else ""
        pins = f"[{head}.pins]" if head else "[pins]"
        folder = home / name
        folder.mkdir()
        (folder / name).write_text(f'{table}project = "shop"\n{pins}\nprod = "{pin}"\n')
        assert project_file(folder).pins == {"prod": pin}


@pytest.mark.parametrize(
    "text",
    [
        "project = ",
        'projekt = "shop"',
        "project = 5",
        'project = ["shop"]',
        "[project]\nname = 'x'",
        "\xff".encode("latin-1"),
        'project = "a"\nproject = "b"',
        'project = "a"\npins = 1',
        'project = "a"\n[pins]\ndefault = 1',
        'project = "a"\n[pins]\ndefault = "1:abc"',
        f'[pins]\ndefault = "1:{"a" * 64}"',
    ],
)
def test_a_broken_project_file_is_told(home: Path, text: str | bytes) -> None:
    """With its path; the two places it can stand in alike."""
    raw = text if isinstance(text, bytes) else text.encode()
    own = home / "shop/.sealrun.toml"
    own.parent.mkdir()
    own.write_bytes(raw)
    with pytest.raises(FileInvalid) as caught:
        project_file(own.parent)
    assert str(own) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["tool = 5", "[tool]\nsealrun = 5", '[tool]\nsealrun = "shop"', "[[tool.sealrun]]", "["]
)
def test_a_broken_table_in_pyproject_is_told(home: Path, text: str) -> None:
    """Whatever stands where a table should."""
    file = home / "shop/pyproject.toml"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(FileInvalid, match=r"pyproject\.toml"):
        project_file(file.parent)


def test_folders_above_that_cannot_be_searched_hold_no_mark(as_ordinary_user: OrdinaryUser, open_folder: Path) -> None:
    """A user in a folder whose parents are closed to it: nothing is found there, and nothing fails."""
    code = (
        "import os, sys; sys.path[:0] = [sys.argv[1]]\n"
        "from pathlib import Path\n"
        "from executor.source.root import project_file, source_root\n"
        "here = Path(sys.argv[2]) / 'closed/here'; here.mkdir(parents=True); os.chdir(here)\n"
        "here.parent.chmod(0)\n"
        "print(project_file(here), source_root(here, None) == here)\n"
        "here.parent.chmod(0o700)\n"
    )
    ended = as_ordinary_user(code, ROOT, open_folder)
    assert (ended.stdout, ended.stderr) == (
        "ProjectFile(project=None, environment=None, server=None, dependencies=None) True\n",
        "",
    )
