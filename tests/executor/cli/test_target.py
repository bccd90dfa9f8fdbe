"""What follows the options of `sealrun run`, and the file of --env-file."""

from pathlib import Path

import pytest
import typer

from executor.cli.lazy import load
from executor.cli.typed.env_file import read_env_file
from executor.cli.typed.target import TAIL
from executor.errors import FileInvalid, RequestUnclear
from executor.schemas.runs import title
from executor.schemas.target import Target
from executor.submission.target import parse


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (["a.py", "--x", "1"], Target("file", "a.py", argv=("--x", "1"))),
        (["script"], Target("file", "script")),
        (["-m", "pkg.mod", "-m"], Target("module", name="pkg.mod", argv=("-m",))),
        (["a.py:f"], Target("function", "a.py", "f")),
        (["a.py:f", "3", "--x", "TEA"], Target("function", "a.py", "f", argv=("3", "--x", "TEA"))),
        (["dir/a.py:main"], Target("function", "dir/a.py", "main")),
        (["--", "a.py:f", "--"], Target("command", argv=("a.py:f", "--"))),
    ],
)
def test_the_four_kinds_are_told_apart(words: list[str], target: Target) -> None:
    """By what is typed first."""
    assert parse(words) == target


def test_a_functions_arguments_keep_their_order() -> None:
    """Text by position as typed, then values; each by name beside them."""
    document = parse(["a.py:f", "3", "TEA"]).document("a.py", {"n": "1"}, {"m": [1]}, [None, {"a": 2}])
    assert document == {
        "kind": "function",
        "path": "a.py",
        "function": "f",
        "args": [{"text": "3"}, {"text": "TEA"}, {"json": None}, {"json": {"a": 2}}],
        "text": {"n": "1"},
        "json": {"m": [1]},
    }
    assert title(document) == 'a.py:f 3 TEA null {"a": 2}'
    document["args"] = [{"json": "x" * 100}]
    assert title(document) == 'a.py:f "' + "x" * 38 + "…"


def test_a_file_with_a_colon_in_its_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it is there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b").touch()
    assert parse(["a:b"]) == Target("file", "a:b")


PROGRAMS = {
    "dump.sh": b"#!/bin/sh\n",
    "job.js": b"#!/usr/bin/env node\n",
    "tool": b"\x7fELF\2",
    "deep/dump": b"#! /bin/bash -e\n",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A script by its first line, whatever its name; with a path from the source root that a shell would take."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(PROGRAMS[name])
    with pytest.raises(RequestUnclear, match=f"{name} may not be executed") as closed:
        parse([name])
    assert f"chmod +x {name}" in (closed.value.hint or "")
    path.chmod(0o755)
    target = parse([name, "--x"])
    assert target == Target("command", name, argv=("--x",))
    assert target.document(name, {}, {})["argv"] == [f"./{name}", "--x"]
    assert target.document(name, {}, {}, typed=f"./{name}")["argv"] == [f"./{name}", "--x"]


@pytest.mark.parametrize("line", ["#!/usr/bin/env python3", "#!/usr/bin/env -S uv run --script", "import sys", ""])
def test_a_file_of_pythons_is_one_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    """It gets the run's Python, its problem and its result."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tool").write_text(line)
    (tmp_path / "tool").chmod(0o755)
    assert parse(["tool"]).kind == "file"


@pytest.mark.parametrize("words", [[], ["--"], ["-m"], ["a.sh"], ["a.py:f", "--arg", "x=1"], ["a.py:1f"]])
def test_anything_else_is_refused(words: list[str]) -> None:
    """With a sentence."""
    with pytest.raises(RequestUnclear):
        parse(words)


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("shop/report.py", "-m shop.report"),
        ("./shop/report", "-m shop.report"),
        ("report.py", "-m report"),
        ("../shop/report.py", "../shop/report.py"),
        ("/srv/shop/report.py", "/srv/shop/report.py"),
    ],
)
def test_a_path_is_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, mend: str) -> None:
    """What it is called as a module is told, where that can be known; `report.py` may be one, without such a file."""
    monkeypatch.chdir(tmp_path)
    assert parse(["-m", "report.py"]) == Target("module", name="report.py")
    (tmp_path / "report.py").touch()
    with pytest.raises(RequestUnclear) as refused:
        parse(["-m", name])
    assert str(refused.value) == f"{name} is a path; name the module with dots, or leave out -m"
    assert refused.value.hint == f"sealrun run {mend}"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("A=1", {"A": "1"}),
        ("  export A = 1  ", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A=''", {"A": ""}),
        ("A=one two # said", {"A": "one two"}),
        ("A=one#two", {"A": "one#two"}),
        ("A= # nothing", {"A": ""}),
        ("A=it's", {"A": "it's"}),
        ("A='a # b $X \\n'  # said", {"A": "a # b $X \\n"}),
        (r'A="a\tb\"c\\d\$e\qf"', {"A": 'a\tb"c\\d\\$e\\qf'}),
        ("A='two\nlines'\nB=${A}", {"A": "two\nlines", "B": "${A}"}),
        ("db.url=x=y", {"db.url": "x=y"}),
        ("# A=1", {}),
        ("", {}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=ü", {"A": "ü"}),
    ],
)
def test_the_lines_of_an_env_file(tmp_path: Path, line: str, found: dict[str, str]) -> None:
    """Names, quotes, comments; nothing is expanded."""
    (tmp_path / "x.env").write_text(line + "\n")
    assert read_env_file(str(tmp_path / "x.env")) == found


def test_a_time_may_be_typed_with_its_units() -> None:
    """For every option that takes one; a number alone is seconds."""
    times = ["--timeout", "1m30s", "--queue-timeout", "0.5"]
    typed = load("run").make_context("run", [*times, "a.py"]).params
    assert (typed["timeout"], typed["queue_timeout"]) == (90, 0.5)
    with pytest.raises(typer.TyperException, match="a length of time is needed, as 90, 5m, 1h30m or 90d"):
        load("run").make_context("run", ["--timeout", "soon", "a.py"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["job.py", "--timeout", "5"],
            "so --timeout went to job.py; if sealrun is meant: sealrun run --timeout … job.py",
        ),
        (["job.py", "--timeout=5", "x", "--json"], "--timeout, --json went to job.py"),
        (["job.py", "--json"], "sealrun run --json job.py"),
        (["-m", "job", "--detach"], "so --detach went to -m job;"),
        (["job.py:main", "--env", "A=hunter2"], "so --env went to job.py:main;"),
        (["takes.py", "--timeout", "5"], None),
        (["takes.py", "--timeout", "5", "--json"], "so --json went to takes.py;"),
        (["job.py", "-e", "prod"], "so -e went to job.py; if sealrun is meant: sealrun run -e … job.py"),
        (["job.py", "x", "--", "--json"], None),
        (["--json", "job.py", "x"], None),
        (["--", "job.py", "--json"], None),
    ],
)
def test_an_option_of_ours_behind_the_target_is_noted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str | None,
) -> None:
    """It is the target's, verbatim. Once, without its value, and not where the target's file names the option."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.py").write_text("print(1)\n")
    (tmp_path / "takes.py").write_text('parser.add_argument("--timeout")\n')
    context = load("run").make_context("sealrun run", list(words))
    assert context.meta[TAIL] == words[words[0] == "--json" :]
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == (told is not None)
    assert (told or "") in "".join(notes) and "hunter2" not in "".join(notes)


@pytest.mark.parametrize("line", ["A", "=1", "A='open", 'A="open', 'A="a" b', "A='a'b", "A B=1"])
def test_a_line_that_is_none_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    """And not quoted: it may hold a password (I10)."""
    (tmp_path / "x.env").write_text(f"OK=1\n\n{line}\n")
    with pytest.raises(FileInvalid) as broken:
        read_env_file(str(tmp_path / "x.env"))
    assert ", line 3: " in str(broken.value)


def test_a_name_that_is_refused_is_named_with_its_file_and_line(tmp_path: Path) -> None:
    """As in a file of another tool, which has a PATH somewhere."""
    (tmp_path / "x.env").write_text("OK=1\nPATH=/bin:hunter2\n")
    with pytest.raises(FileInvalid) as refused:
        read_env_file(str(tmp_path / "x.env"))
    assert str(refused.value).startswith(f'{tmp_path}/x.env, line 2: the name "PATH" is refused: it belongs to the ')
    assert refused.value.hint == "remove these lines, or name a file without them"
