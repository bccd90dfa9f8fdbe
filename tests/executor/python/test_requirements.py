"""What a run's own Python environment is to be built of: found and checked where the run is submitted."""

import json
from pathlib import Path
from typing import Any

import pytest

from executor.errors import FileUnreadable, RequirementsRefused
from executor.python import requirements

PYPROJECT = """\
[project]
name = "shop"
version = "1"
requires-python = ">=3.11"
dependencies = ["pandas>=2", "rich"]

[tool.uv.sources]
rich = {{ {source} }}
"""

NOTHING = """\
[project]
name = "shop"
version = "1"
requires-python = ">=3.12"
dependencies = []

[tool.uv.sources]
own = { path = "../own" }
"""


def script(folder: Path, text: str) -> Path:
    path = folder / "job.py"
    path.write_text(text)
    return path


def block(*lines: str) -> str:
    return "".join(f"{line}\n" for line in ["# /// script", *(f"# {line}".rstrip() for line in lines), "# ///"])


# A script's own block ------------------------------------------------------------------------------


def test_the_block_of_a_script_reads_as_a_pyproject(tmp_path: Path) -> None:
    """PEP 723: dependencies, requires-python, and what it says to uv; comments and code around it are not looked at."""
    text = '"""A job."""\n\n' + block(
        'requires-python = ">=3.12"', "dependencies = [", '  "pandas>=2",', "]", "", "[[tool.uv.index]]", 'url = "https://a/b"'
    )  # fmt: skip
    found = requirements.of_script(script(tmp_path, text + "import pandas\n"))
    assert found is not None and requirements.installs(found)
    assert (found["kind"], found["requires_python"], list(found["files"])) == (
        "pyproject.toml",
        ">=3.12",
        ["pyproject.toml"],
    )
    assert 'dependencies = [\n  "pandas>=2",\n]\n\n[[tool.uv.index]]' in found["files"]["pyproject.toml"]
    assert not requirements.allows(found, "3.11.9") and requirements.allows(found, "3.13.0")


def test_a_script_may_say_that_it_needs_nothing(tmp_path: Path) -> None:
    """A block that names nothing is an answer, no block is none; a file that cannot be read says so when it is run."""
    for said in ("dependencies = []", 'requires-python = ">=3.11"'):
        found = requirements.of_script(script(tmp_path, block(said)))
        assert found is not None and not requirements.installs(found)
    assert requirements.of_script(script(tmp_path, "import os\n# /// other\n# ///\n")) is None
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe")
    assert requirements.of_script(tmp_path / "binary.py") is None
    assert requirements.of_script(tmp_path / "gone.py") is None


# A source root ------------------------------------------------------------------------------------


def test_what_lies_nearest_in_a_source_root_counts(tmp_path: Path) -> None:
    """sealrun's own list, then pyproject.toml at the versions of uv.lock, then requirements.txt."""
    assert requirements.of_source(tmp_path, None) is None
    (tmp_path / "requirements.txt").write_text("rich==14\n")
    assert found(tmp_path)["kind"] == "requirements"
    (tmp_path / "pyproject.toml").write_text("[tool.other]\n")
    (tmp_path / "uv.lock").write_text("version = 1\n")
    assert found(tmp_path)["kind"] == "requirements"
    (tmp_path / "pyproject.toml").write_text(PYPROJECT.format(source='index = "own"'))
    assert (found(tmp_path)["kind"], found(tmp_path)["requires_python"]) == ("uv.lock", ">=3.11")
    (tmp_path / "uv.lock").unlink()
    assert list(found(tmp_path)["files"]) == ["pyproject.toml"]
    own = requirements.of_source(tmp_path, ["numpy"])
    assert own is not None and (own["kind"], own["with"]) == ("list", ["numpy"])
    assert requirements.of_source(tmp_path, []) is None


def test_a_source_root_may_say_that_it_needs_nothing(tmp_path: Path) -> None:
    """An empty list in pyproject.toml, unless requirements.txt names something; an empty requirements.txt by itself."""
    (tmp_path / "requirements.txt").write_text("# nothing yet\n")
    assert not requirements.installs(found(tmp_path))
    (tmp_path / "requirements.txt").unlink()
    (tmp_path / "pyproject.toml").write_text(NOTHING)
    assert not requirements.installs(found(tmp_path)) and found(tmp_path)["requires_python"] == ">=3.12"
    (tmp_path / "requirements.txt").write_text("rich==14\n")
    assert found(tmp_path)["kind"] == "requirements"


def found(root: Path) -> dict[str, Any]:
    document = requirements.of_source(root, None)
    assert document is not None
    json.dumps(document)
    return document


def test_included_files_travel_along(tmp_path: Path) -> None:
    """-r and -c, each way they are written, from the folder of the file that names them; each file once."""
    (tmp_path / "more").mkdir()
    (tmp_path / "requirements.txt").write_text(
        "# ours\n-r more/base.txt\nrich==14 \\\n  ; python_version > '3' # why\n"
    )
    (tmp_path / "more/base.txt").write_text("--requirement=web.txt\n-cbounds.txt\n-r ../requirements.txt\n")
    (tmp_path / "more/web.txt").write_text("--index-url https://a.example/simple\nflask\n")
    (tmp_path / "more/bounds.txt").write_text("flask<4\n")
    document = requirements.from_file(tmp_path / "requirements.txt")
    assert list(document["files"]) == ["requirements.txt", "more/base.txt", "more/bounds.txt", "more/web.txt"]
    assert (document["entry"], document["hashed"]) == ("requirements.txt", False)


def test_hashes_are_noticed(tmp_path: Path) -> None:
    """A file with hashes is installed as it is, so nothing without one may stand beside it."""
    path = tmp_path / "locked.txt"
    path.write_text("rich==14 \\\n    --hash=sha256:00\n")
    document = requirements.from_file(path)
    assert document["hashed"]
    with pytest.raises(RequirementsRefused, match=r"locked\.txt has hashes"):
        requirements.with_packages(document, ["pandas"])


def test_packages_of_the_command_line_come_on_top(tmp_path: Path) -> None:
    """--with adds to what the source says, and stands alone where that says nothing."""
    (tmp_path / "requirements.txt").write_text("rich\n")
    both = requirements.with_packages(found(tmp_path), ["pandas[parquet]>=2; python_version > '3'"])
    assert both["kind"] == "requirements" and both["with"] == ["pandas[parquet]>=2; python_version > '3'"]
    assert found(tmp_path)["with"] == []
    assert requirements.installs(requirements.with_packages(None, ["git+https://github.com/a/b@main"]))


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why", "place"),
    [
        ("rich\n\npandas=2\n", "is not a requirement", "requirements.txt, line 3"),
        ("rich\npandas >=2 \\\n  , <<3\n", "is not a requirement", "requirements.txt, line 2"),
        ("rich @\n", "is not a requirement", "requirements.txt, line 1"),
        ("rich extra\n", "is not a requirement", "requirements.txt, line 1"),
        ("-e .\n", "is on this machine", "requirements.txt, line 1"),
        ("--editable=../lib\n", "is on this machine", "requirements.txt, line 1"),
        ("rich\n./wheels/own-1.0-py3-none-any.whl\n", "is on this machine", "requirements.txt, line 2"),
        ("own-1.0.tar.gz\n", "is on this machine", "requirements.txt, line 1"),
        ("own @ file:///srv/own\n", "is on this machine", "requirements.txt, line 1"),
        ("file:///srv/own\n", "is on this machine", "requirements.txt, line 1"),
        ("--find-links wheels\n", "is on this machine", "requirements.txt, line 1"),
        ("-r ../base.txt\n", "is on this machine", "requirements.txt, line 1"),
        ("-r gone.txt\n", "cannot be read", "gone.txt"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, text: str, why: str, place: str) -> None:
    """The sentence names file and line before anything is submitted."""
    (tmp_path / "requirements.txt").write_text(text)
    with pytest.raises(RequirementsRefused if why != "cannot be read" else FileUnreadable, match=why) as refused:
        requirements.of_source(tmp_path, None)
    assert place in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        "rich==14.0 --hash=sha256:00", "rich ; python_version > '3' # why", "-e git+https://git@github.com/a/b@v1#egg=b",
        "own @ https://${TOKEN}@a.example/own-1.0-py3-none-any.whl", "https://a.example/own-1.0-py3-none-any.whl",
        "--extra-index-url https://user:${PASSWORD}@a.example/simple", "--no-binary :all:", "--pre", "# -e .",
        "git+ssh://git@github.com/a/b.git", "zope.interface>=6", "Rich[jupyter]",
    ],
)  # fmt: skip
def test_what_installers_take_is_taken(tmp_path: Path, line: str) -> None:
    """Nothing that uv can install from elsewhere is refused."""
    (tmp_path / "requirements.txt").write_text(f"{line}\n")
    requirements.of_source(tmp_path, None)


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://user:hunter2@a.example/simple", "own @ https://hunter2@a.example/own.whl",
        "git+https://oauth2:hunter2@a.example/own", "-e git+https://hunter2@a.example/own", "https://:hunter2@a.example/own.whl",
    ],
)  # fmt: skip
def test_a_password_is_refused_and_not_quoted(tmp_path: Path, line: str) -> None:
    """I10: what is submitted is stored in the open: a URL with a password is refused by its place."""
    (tmp_path / "requirements.txt").write_text(f"rich\n{line}\n")
    pyproject = PYPROJECT.format(source='index = "own"') + f"# {line}\n"
    for look in (
        lambda: requirements.of_source(tmp_path, None),
        lambda: requirements.of_script(script(tmp_path, block('dependencies = ["rich"]', f"# {line}"))),
        lambda: (tmp_path / "pyproject.toml").write_text(pyproject) and requirements.of_source(tmp_path, None),
        lambda: requirements.with_packages(None, [line]),
    ):
        with pytest.raises(RequirementsRefused, match="a user or a password") as refused:
            look()
        assert "hunter2" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize(
    "line", ["own @ git+https://${USER}:${TOKEN}@a.example/own", "-e git+https://${TOKEN}@a.example/own"]
)
def test_a_password_that_git_would_be_told_as_an_argument_is_refused(tmp_path: Path, line: str) -> None:
    """I1: every process of the machine can read another's arguments."""
    (tmp_path / "requirements.txt").write_text(f"rich\n{line}\n")
    for look in (lambda: requirements.of_source(tmp_path, None), lambda: requirements.with_packages(None, [line])):
        with pytest.raises(RequirementsRefused, match="an argument of git"):
            look()


@pytest.mark.parametrize("source", ['path = "../rich"', "workspace = true"])
def test_a_source_in_a_folder_is_refused(tmp_path: Path, source: str) -> None:
    """Where the environment is built there is nothing but these texts."""
    (tmp_path / "pyproject.toml").write_text(PYPROJECT.format(source=source))
    with pytest.raises(RequirementsRefused, match=r"pyproject\.toml, line \d: the source of rich"):
        requirements.of_source(tmp_path, None)


def test_broken_tables_are_told_by_their_lines(tmp_path: Path) -> None:
    """TOML, dependencies of another type, requires-python, and requirements; lines are those of the file itself."""
    job = '"""A job."""\n\n' + block('requires-python = ">=3.11"', 'dependencies = ["rich", "pandas=2"]')
    with pytest.raises(RequirementsRefused, match=r"^job\.py, line 5: 'pandas=2' is not a requirement"):
        requirements.of_script(script(tmp_path, job))
    with pytest.raises(RequirementsRefused, match="requires-python is not a range"):
        requirements.of_script(script(tmp_path, block('requires-python = "3.11 or so"')))
    with pytest.raises(RequirementsRefused, match=r"^job\.py: .*at line 3, column"):
        requirements.of_script(script(tmp_path, "\n" + block("dependencies = [1,, 2]")))
    with pytest.raises(RequirementsRefused, match="dependencies is not a list"):
        requirements.of_script(script(tmp_path, block('dependencies = "rich"')))
    with pytest.raises(RequirementsRefused, match="two blocks"):
        requirements.of_script(script(tmp_path, block("dependencies = []") + "\n" + block("dependencies = []")))
    with pytest.raises(RequirementsRefused, match="it is empty"):
        requirements.with_packages(None, [" "])


def test_a_text_that_is_too_long_is_refused_by_its_size(tmp_path: Path) -> None:
    """It would travel in the run's row."""
    (tmp_path / "requirements.txt").write_text("#" * (requirements.TEXT_LIMIT + 1))
    with pytest.raises(RequirementsRefused, match="4,194,305 bytes"):
        requirements.of_source(tmp_path, None)
    (tmp_path / "requirements.txt").write_bytes(b"\xff")
    with pytest.raises(FileUnreadable, match="UTF-8"):
        requirements.of_source(tmp_path, None)
