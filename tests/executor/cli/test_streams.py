"""The command line in odd surroundings: what was done is told by the exit code, and nothing is half done."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from executor.cli.shown import screen, streams
from executor.submission.context import current_folder, nearest_project_file
from secretstore.errors import FolderUnusable
from tests.executor.cli.conftest import CHECKOUT, PATIENCE, Cli


def in_a_shell(cli: Cli, line: str) -> "subprocess.CompletedProcess[bytes]":
    """A line of a shell in which `sealrun` is a command."""
    called = line.replace("sealrun", shlex.join(cli.command()), 1)
    return subprocess.run(["sh", "-c", called], capture_output=True, cwd=cli.jobs, env=cli.environ, timeout=PATIENCE)


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "2>/dev/full"])
def test_what_is_done_with_nobody_to_hear_it_is_done(cli: Cli, closed: str) -> None:
    """A closed or full stream keeps no word from being kept: 0 says that the project is there."""
    name = f"quiet-{len(cli.ok('project', 'list').splitlines())}"
    ended = in_a_shell(cli, f"sealrun project create {name} {closed}")
    assert ended.returncode == 0 and b"fault of sealrun" not in ended.stderr
    assert name in cli.ok("project", "list")


def test_a_closed_streams_number_goes_to_no_file(tmp_path: Path) -> None:
    """What is printed to it would stand in the database otherwise."""
    code = (
        "import os, sys; from executor.cli.shown import streams; streams.prepare();"
        "file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY); print('stray'); print('stray', file=sys.stderr);"
        "sys.stdout.flush(); assert file > 2 and not sys.stdin.read()"
    )
    line = f"exec {shlex.join([sys.executable, '-c', code, str(tmp_path / 'file')])} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", line]).returncode == 0
    assert (tmp_path / "file").read_bytes() == b""


def test_words_nobody_hears_stop_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours come between two things that a command does."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as broken:
        monkeypatch.setattr(sys, "stderr", broken)
        monkeypatch.setattr(streams, "silence", lambda number: os.dup2(os.open(os.devnull, os.O_WRONLY), writing))
        screen.say("one")
        screen.say("two")


def test_another_locale_changes_neither_names_nor_exit_codes(shop: Cli) -> None:
    """Where the locale's encoding is ASCII, text comes in and goes out as everywhere else."""
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = shop("variable", "set", "GREETING", "--json", stdin="grüße …", environ=ascii_only, code=0)
    assert "grüße …" in ended.stdout and "grüße …" in shop.ok("variable", "list")


def test_a_stream_without_a_character_has_its_escape(shop: Cli) -> None:
    """And JSON stays JSON."""
    shop.ok("variable", "set", "GREETING", stdin="grüße …")
    told = shop.ok("variable", "list", "--json", environ={"PYTHONIOENCODING": "ascii"})
    assert "gr\\u00fc\\u00dfe \\u2026" in told
    assert [one["value"] for one in json.loads(told) if one["name"] == "GREETING"] == ["grüße …"]


def test_what_is_no_text_is_told(shop: Cli) -> None:
    """A folder whose name is not UTF-8 has no place in a run's row."""
    folder = os.fsencode(shop.jobs) + b"/d\xfc"
    os.mkdir(folder)
    (Path(os.fsdecode(folder)) / "pyproject.toml").touch()
    (Path(os.fsdecode(folder)) / "job.py").touch()
    refused = shop("run", "--detach", "job.py", cwd=Path(os.fsdecode(folder)), code=2)
    assert "the source root is refused: it is not text in UTF-8" in refused.stderr


def test_a_current_folder_that_is_gone_is_told(shop: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is made; what needs no folder works."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert nearest_project_file().project is None
    with pytest.raises(FolderUnusable, match="the current folder has been deleted"):
        current_folder()

    here = Path("/proc/self/cwd")
    for words, code in ((("init",), 1), (("demo",), 1), (("run", "--", "true"), 125), (("project", "list"), 0)):
        ended = shop(*words, cwd=here, code=code)
        assert ("sealrun: the current folder has been deleted\nhint: " in ended.stderr) == bool(code)
    assert "BACKUP_KEY" not in shop.ok("secret", "list"), "the demo was half done"


def test_an_answer_stands_before_the_words_that_follow_it() -> None:
    """Also where both go to one file, into which Python writes only when it has enough."""
    code = """
from executor.cli.shown import screen
screen.show_json({"a": 1}); screen.say("first")
screen.table(["name"], [["b"]]); screen.say("second")
screen.facts([("name", "c")]); screen.say("third")
"""
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    environ = {"PYTHONPATH": str(CHECKOUT)}
    ended = subprocess.run([sys.executable, "-c", code], env=environ, text=True, timeout=PATIENCE, **both)  # type: ignore[call-overload]
    assert ended.stdout == '{\n  "a": 1\n}\nfirst\nb\nsecond\nname  c\nthird\n'
