"""The one file that enters a run: under every Python there is here, from 3.9 on."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from executor.supervisor import child as children
from tests.executor.run_process import BARE, Ended, Execute, heard, plain_view

FUNCTIONS = """
from __future__ import annotations
import datetime
import datetime as dt
import os, sys
from datetime import date

def typed(n: int, x: float = 0.5, yes: bool = False, day: date = None, plain="text", **more):
    return [n, x, yes, str(day), type(day).__name__, plain, more]

def dotted(day: datetime.date, other: dt.date):
    return [type(day).__name__, type(other).__name__]

def here(): return [os.getcwd(), sys.path[0], sys.argv, __name__]
def nothing(): return None
def nan(): return {"a": float("nan")}
def odd(): return {1, 2}
def circular():
    loop = []
    loop.append(loop)
    return loop
def deep():
    value = []
    for _ in range(100_000): value = [value]
    return value
def pairs(): return {1: "a", None: "b"}
def positions(n: int, /, x: float, *days: date, key: bool = False): return [n, x, [str(day) for day in days], key]
def named(*, key: int): return key
def plain(a, b="c"): return [a, b]
def anything(**numbers: int): return numbers
built_in = max
def fail(): raise KeyError("gone")
def exits(code): sys.exit(code)
not_callable = 3
"""
FUNCTIONS_NOW = FUNCTIONS.replace("from __future__ import annotations\n", "")


def function(
    name: str, text: dict[str, str] | None = None, json: dict[str, Any] | None = None, args: Sequence[Any] = ()
) -> dict[str, Any]:
    named = {"text": text or {}, "json": json or {}}
    return {"kind": "function", "path": "jobs.py", "function": name, **named, **({"args": list(args)} if args else {})}


def word(text: str) -> dict[str, str]:
    """An argument by position, as the command line gives it."""
    return {"text": text}


def file(path: str = "job.py", *argv: str) -> dict[str, Any]:
    return {"kind": "file", "path": path, "argv": list(argv)}


def frames(text: str) -> list[str]:
    return re.findall(r'File "([^"]+)"', text)


# Files, modules, functions ------------------------------------------------------------------------


def test_a_file_runs_as_python_would_run_it(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """argv, `__main__`, `__file__`, its folder first on the path, and the environment there before its imports."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/neighbour.py").write_text("import os\nat_import = os.environ['API_KEY']\n")
    (tmp_path / "sub/job.py").write_text(
        "import os, sys, json, neighbour, __main__\n"
        "print(json.dumps([sys.argv, __name__, __file__, sys.path[0], os.getcwd(), neighbour.at_import]))\n"
        "assert __main__.__dict__ is globals() and __spec__ is None\n"
        "sys.exit(7)\n"
    )
    ended = execute(file("sub/job.py", "--since", "x y"), any_python, {"API_KEY": "hunter2"})
    assert ended.stderr == "" and ended.code == 7 and ended.result is None
    assert json.loads(ended.stdout) == [
        ["sub/job.py", "--since", "x y"],
        "__main__",
        str(tmp_path / "sub/job.py"),
        str(tmp_path / "sub"),
        str(tmp_path),
        "hunter2",
    ]


SEEN = """
import json, linecache, sys
print(json.dumps([sys.argv, __file__, sys.path[0], __spec__, __package__, type(__loader__).__name__, __cached__,
                  __loader__.get_data(__file__) != b"", getattr(sys, "orig_argv", [""])[1:], __builtins__ is not None]))
"""


@pytest.mark.parametrize("typed", ["sub/job.py", "./sub/job.py", "sub/../sub/job.py", "link.py", "/sub/job.py"])
def test_a_file_finds_what_python_itself_would_tell_it(execute: Execute, tmp_path: Path, typed: str) -> None:
    """`sys.argv`, `__file__`, `sys.path[0]` and the rest: the very same as without sealrun, for what was typed."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/job.py").write_text(SEEN)
    (tmp_path / "link.py").symlink_to("sub/job.py")
    typed = f"{tmp_path}{typed}" if typed.startswith("/") else typed
    by_hand = subprocess.run([sys.executable, typed, "x"], cwd=tmp_path, capture_output=True, check=True)
    ended = execute({**file("sub/job.py", "x"), "typed": typed})
    assert json.loads(ended.stdout) == json.loads(by_hand.stdout), ended.stderr


def test_a_module_runs_from_the_source_root(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """As `python -m` would, with the working directory on the path."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/__init__.py").touch()
    (tmp_path / "shop/report.py").write_text("import sys\nprint(__name__, __package__, sys.argv[1:], sys.path[0])\n")
    ended = execute({"kind": "module", "module": "shop.report", "argv": ["a"]}, any_python)
    assert (ended.stdout, ended.code) == (f"__main__ shop ['a'] {tmp_path}\n", 0)


@pytest.mark.parametrize("source", [FUNCTIONS, FUNCTIONS_NOW], ids=["postponed", "evaluated"])
def test_arguments_are_converted_by_annotation(execute: Execute, tmp_path: Path, any_python: str, source: str) -> None:
    """int, float, bool and date, with annotations evaluated or postponed; JSON arguments stay as they are."""
    (tmp_path / "jobs.py").write_text(source)
    text = {"n": "4", "x": "1e3", "yes": "Yes", "day": "2026-01-31", "extra": "5"}
    ended = execute(function("typed", text, {"plain": {"a": [1]}}), any_python)
    assert ended.result == {"result": [4, 1000.0, True, "2026-01-31", "date", {"a": [1]}, {"extra": "5"}]}
    ended = execute(function("dotted", {"day": "2026-01-31", "other": "2026-01-31"}), any_python)
    assert ended.result == {"result": ["date", "date"]}


@pytest.mark.parametrize("source", [FUNCTIONS, FUNCTIONS_NOW], ids=["postponed", "evaluated"])
def test_arguments_by_position(execute: Execute, tmp_path: Path, source: str) -> None:
    """Text is converted for the parameter it lands on, that of `*args` included; JSON stays as it is."""
    (tmp_path / "jobs.py").write_text(source)
    args = [word("4"), word("1e3"), word("2026-01-31"), word("2026-02-01")]
    ended = execute(function("positions", {"key": "yes"}, args=args))
    assert ended.result == {"result": [4, 1000.0, ["2026-01-31", "2026-02-01"], True]}
    ended = execute(function("plain", json={"b": {"c": 1}}, args=[{"json": ["4"]}]))
    assert ended.result == {"result": [["4"], {"c": 1}]}
    assert execute(function("anything", {"a": "1"}, {"b": "2"})).result == {"result": {"a": 1, "b": "2"}}
    ended = execute(function("built_in", args=[{"json": 4}, {"json": 5}]))
    assert ended.result == {"result": 5}


def test_a_function_finds_its_file_and_the_source_root(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """Its folder is on the path, its module has the file's name, and what it returns is the result."""
    (tmp_path / "jobs.py").write_text(FUNCTIONS)
    ended = execute(function("here"), any_python)
    assert ended.result == {"result": [str(tmp_path), str(tmp_path), ["jobs.py"], "jobs"]}
    assert execute(function("nothing"), any_python).result == {"result": None}
    assert execute(function("pairs"), any_python).result == {"result": {"1": "a", "null": "b"}}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (function("typed", {"n": "four"}), "argument n is not a valid int: 'four'"),
        (function("typed", {"n": "4", "x": ""}), "argument x is not a valid float: ''"),
        (function("typed", {"n": "4", "yes": "maybe"}), "argument yes is not a valid bool: 'maybe'"),
        (function("typed", {"n": "4", "day": "31.1.2026"}), "argument day is not a valid date: '31.1.2026'"),
        (function("typed"), "missing a required argument: 'n'"),
        (function("positions", args=[word("x")]), "argument n is not a valid int: 'x'"),
        (function("positions", args=[word("1"), word("2"), word("soon")]), "argument days is not a valid date: 'soon'"),
        (
            function("positions", {"n": "1", "x": "2"}),
            "'n' parameter is positional only|positional-only arguments passed as keyword arguments: 'n'",
        ),
        (function("plain", {"a": "1"}, args=[word("1")]), "multiple values for argument 'a'"),
        (function("plain", args=[word("1")] * 3), "takes at most 2 arguments by position, 3 were given"),
        (function("named", args=[word("1")]), "takes no arguments by position, 1 were given"),
        (function("here", {"unknown": "x"}), "has no argument unknown"),
        (function("nowhere"), "jobs.py has no function nowhere"),
        (function("not_callable"), "jobs.py has no function not_callable"),
    ],
)
def test_a_mistake_of_the_caller_is_a_sentence(
    execute: Execute, tmp_path: Path, target: dict[str, Any], said: str
) -> None:
    """What the user can mend is told without frames."""
    (tmp_path / "jobs.py").write_text(FUNCTIONS)
    ended = execute(target)
    assert ended.code == 1
    # What stands after a | is how a newer Python says it.
    assert any(one in ended.stderr for one in said.split("|"))
    assert ended.stderr.startswith("sealrun: ") and ended.stderr.count("\n") == 1
    assert ended.result["problem"]["traceback"] == ended.stderr and ended.result["problem"]["type"] == "Mistake"


def test_a_function_needs_a_python_file(execute: Execute, tmp_path: Path) -> None:
    """Another kind of file is a sentence too."""
    (tmp_path / "jobs.sh").write_text("true")
    ended = execute({**function("f"), "path": "jobs.sh"})
    assert (ended.code, ended.stderr) == (1, "sealrun: jobs.sh is not a Python file\n")


# Results ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nan", "the returned dict was not stored, as it does not fit into JSON: $.a is the float nan. "),
        ("odd", "$ is a set. Return numbers, texts, lists and dicts, or write a file to SEALRUN_OUTPUT_DIR"),
        ("circular", "$[0] is the list that holds it"),
        ("deep", "nested too deeply"),
    ],
)
def test_what_is_not_json_is_said_and_not_stored(
    execute: Execute, tmp_path: Path, any_python: str, name: str, said: str
) -> None:
    """The run succeeded; only its result stays behind, and no text of it is in the note."""
    (tmp_path / "jobs.py").write_text(FUNCTIONS)
    ended = execute(function(name), any_python)
    assert ended.code == 0
    assert set(ended.result) == {"note"} and said in ended.result["note"]


RESULTS = """
import collections, datetime, decimal, enum, pathlib, uuid
Point = collections.namedtuple("Point", "x y")
class Odd:
    def __repr__(self): raise RuntimeError
class Sly(dict):
    def items(self): raise RuntimeError
class Colour(str, enum.Enum):
    RED = "red"
def known():
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    return {
        "moment": moment, "day": moment.date(), "time": moment.time(), "price": decimal.Decimal("1.10"),
        "id": uuid.UUID(int=1), "path": pathlib.Path("a/b"), "point": Point(1, (2, 3)), "colour": Colour.RED,
    }
def rows():
    return {"rows": [{"ok": 1}, {"when": b"x", "a b": Odd()}], "more": {(1, 2): 3, 1: [{2}]}}
def sly(): return [Sly(a=Odd())]
def large(): return 10 ** 5000
"""


def test_what_has_one_plain_text_becomes_it(execute: Execute, tmp_path: Path) -> None:
    """Moments as ISO 8601; exact decimals, UUIDs and paths as text; tuples as lists."""
    (tmp_path / "jobs.py").write_text(RESULTS)
    assert execute(function("known")).result["result"] == {
        "moment": "2026-01-02T03:04:05+00:00", "day": "2026-01-02", "time": "03:04:05", "price": "1.10",
        "id": "00000000-0000-0000-0000-000000000001", "path": "a/b", "point": [1, [2, 3]], "colour": "red",
    }  # fmt: skip


def test_a_note_names_places_and_types(execute: Execute, tmp_path: Path) -> None:
    """The first three, as one would write them; what cannot even be looked at is no problem of the run."""
    (tmp_path / "jobs.py").write_text(RESULTS)
    note = execute(function("rows")).result["note"]
    said = (
        '$.rows[1].when is a bytes; $.rows[1]["a b"] is an Odd; $.more is a dict with a key that is a tuple, and more.'
    )
    assert said in note
    ended = execute(function("sly"))
    assert (ended.code, ended.stderr) == (0, "") and "looking through it raised RuntimeError" in ended.result["note"]
    assert "$ is an int of thousands of digits" in execute(function("large")).result["note"]


def test_a_result_is_reported_after_what_was_printed(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """Large results arrive whole, through a pipe that is smaller than they are."""
    (tmp_path / "jobs.py").write_text("def big():\n    print('before', end='')\n    return 'x' * 1_000_000\n")
    ended = execute(function("big"), any_python)
    assert ended.stdout == "before" and ended.result == {"result": "x" * 1_000_000}


# Problems -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("sys.exit()", 0, ""),
        ("sys.exit(0)", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('no stock')", 1, "no stock\n"),
        ("raise SystemExit(None)", 0, ""),
        ("os._exit(5)", 5, ""),
        ("os.kill(os.getpid(), 9)", -9, ""),
    ],
)
def test_a_run_ends_as_its_code_says(execute: Execute, tmp_path: Path, ending: str, code: int, said: str) -> None:
    """SystemExit is an exit code and no problem."""
    (tmp_path / "job.py").write_text(f"import os, sys\n{ending}\n")
    ended = execute(file())
    assert (ended.code, ended.stderr, ended.result) == (code, said, None)


def uncaught(ended: Ended, kind: str) -> str:
    assert ended.code == 1 and ended.result["problem"]["type"] == kind
    assert ended.result["problem"]["traceback"] == ended.stderr
    return ended.stderr


RAISES = """
def inner():
    {}["gone"]

def outer():
    try:
        inner()
    except KeyError as error:
        raise ValueError("wrapped") from error

if __name__ == "__main__":
    outer()
"""


def test_a_traceback_shows_the_users_frames_alone(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """No frame of ours, of runpy or of the import system, in a file, module or function, chained causes included."""
    job = tmp_path / "job.py"
    job.write_text(RAISES)
    for target in (
        file(),
        {"kind": "module", "module": "job", "argv": []},
        {"kind": "function", "path": "job.py", "function": "outer", "text": {}, "json": {}},
    ):
        text = uncaught(execute(target, any_python), "ValueError")
        assert set(frames(text)) == {job.name}, text
        assert "direct cause" in text and "KeyError: 'gone'" in text and text.endswith("ValueError: wrapped\n")


def test_errors_while_importing_show_the_users_frames_alone(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """A file that does not parse, or fails at import, is told as Python tells it."""
    (tmp_path / "broken.py").write_text("def f(:\n")
    for target in (file("broken.py"), {"kind": "module", "module": "broken", "argv": []}):
        text = uncaught(execute(target, any_python), "SyntaxError")
        assert set(frames(text)) == {"broken.py"} and "    def f(:\n" in text and "^\n" in text, text
    (tmp_path / "jobs.py").write_text("import broken\ndef f(): pass\n")
    text = uncaught(execute(function("f"), any_python), "SyntaxError")
    assert set(frames(text)) == {"jobs.py", "broken.py"}, text


CHAIN = """
import asyncio, importlib

class Ours(Exception):
    pass

class Mute(Exception):
    def __str__(self): raise RuntimeError("no words")

def chain():
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise Mute("second")
    except Mute as error:
        raise Ours("third") from error

def hidden():
    try:
        raise KeyError("first")
    except KeyError:
        raise Ours("alone") from None

def group():
    raise ExceptionGroup("several", [ValueError("one"), ExceptionGroup("inner", [TypeError("two")])])

async def waits():
    await asyncio.sleep(0)
    raise Ours("late")

def imports():
    importlib.import_module("fails")

def long():
    raise Ours("x" * 100_000) from ValueError("y" * 100_000)

def many():
    error = None
    for number in range(30):
        new = ValueError(number)
        new.__cause__ = error
        error = new
    raise error
"""


def raised(execute: Execute, tmp_path: Path, name: str, python: str) -> dict[str, Any]:
    (tmp_path / "jobs.py").write_text(CHAIN)
    (tmp_path / "fails.py").write_text("1 / 0\n")
    ended = execute(function(name), python)
    assert ended.code == 1
    problem: dict[str, Any] = ended.result["problem"]
    return problem


def test_causes_are_kept_as_data(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """Each with its class, message and traceback, and how it belongs to the one before; nearest first."""
    problem = raised(execute, tmp_path, "chain", any_python)
    assert (problem["type"], problem["message"]) == ("jobs.Ours", "third")
    found = [(one["type"], one["message"], one["relation"]) for one in problem["causes"]]
    assert found == [
        ("jobs.Mute", "<exception str() failed>", "cause"),
        ("KeyError", "'first'", "context"),
    ]
    for one in problem["causes"]:
        assert frames(one["traceback"]) == ["jobs.py"] and one["traceback"].count("Traceback") == 1
    assert problem["traceback"].count("Traceback") == 3
    assert raised(execute, tmp_path, "hidden", any_python)["causes"] == []


def test_members_of_a_group_are_kept(execute: Execute, tmp_path: Path) -> None:
    """Those of groups in it, too; the traceback shows them as Python does."""
    problem = raised(execute, tmp_path, "group", sys.executable)
    assert [(one["type"], one["message"], one["relation"]) for one in problem["causes"]] == [
        ("ValueError", "one", "member"),
        ("ExceptionGroup", "inner (1 sub-exception)", "member"),
        ("TypeError", "two", "member"),
    ]
    assert "| ValueError: one" in problem["traceback"]


def test_no_frame_of_a_loop_or_of_imports_is_shown(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """What stands between us and an `async def`, or between two files of the user, is not theirs."""
    assert frames(raised(execute, tmp_path, "waits", any_python)["traceback"]) == ["jobs.py"]
    assert frames(raised(execute, tmp_path, "imports", any_python)["traceback"]) == ["jobs.py", "fails.py"]


def test_a_long_problem_is_sent_in_part(execute: Execute, tmp_path: Path) -> None:
    """The beginnings of its texts, with how much is missing, and its nearest causes; stderr has all of it."""
    problem = raised(execute, tmp_path, "long", sys.executable)
    assert problem["message"] == {"text": "x" * (16 << 10), "left_out": 100_000 - (16 << 10)}
    assert problem["causes"][0]["message"]["left_out"] == 100_000 - (16 << 10)
    assert problem["traceback"]["left_out"] > 0
    problem = raised(execute, tmp_path, "many", sys.executable)
    assert [one["message"] for one in problem["causes"]] == [str(number) for number in range(28, 18, -1)]


def test_a_lack_of_memory_is_told_with_what_is_left(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """Whatever has filled it, and though all of it is still held."""
    (tmp_path / "job.py").write_text(
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))\n"
        "held = []\n"
        "for size in (1 << 20, 1 << 12, 1 << 6):\n"
        "    try:\n"
        "        while True: held.append(bytearray(size))\n"
        "    except MemoryError:\n"
        "        if size == 1 << 6: raise\n"
    )
    text = uncaught(execute(file(), any_python), "MemoryError")
    assert set(frames(text)) == {"job.py"} and text.endswith("MemoryError\n")


def test_a_missing_module_names_the_interpreter(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """One more line says which interpreter it was and how it gets the package; of a target's own module it is all."""
    (tmp_path / "job.py").write_text("import surely_not_there\n")
    text = uncaught(execute(file(), any_python), "ModuleNotFoundError")
    assert any_python in text.splitlines()[-1] and "--with NAME" in text.splitlines()[-1]
    (tmp_path / "package").mkdir()
    for name in ("surely_not_there", "surely_not_there.module", "package.module"):
        ended = execute({"kind": "module", "module": name, "argv": []}, any_python)
        assert ended.stderr == (
            f"sealrun: there is no module {name} in the source root or in this run's Python, {any_python}\n"
        )
    (tmp_path / "src").mkdir()
    ended = execute(
        {"kind": "module", "module": "etl.gone", "argv": [], "import_from": [str(tmp_path / "src")]}, any_python
    )
    assert "there is no module etl.gone in the source root or in its folder src or in this run's" in ended.stderr
    ended = execute({"kind": "module", "module": "package", "argv": []}, any_python)
    assert ended.stderr == "sealrun: package is a package without a __main__.py: name one of its modules\n"
    (tmp_path / "package/broken.py").write_text("import surely_not_there\n")
    ended = execute({"kind": "module", "module": "package.broken", "argv": []}, any_python)
    assert "Traceback" in ended.stderr and "--with NAME" in ended.stderr.splitlines()[-1]


def test_a_function_of_a_package_imports_its_neighbours(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """As where the package is installed: by its full name, and by relative imports; other files have their own name."""
    for name, text in (("src/etl/__init__", ""), ("src/etl/util", "word = 'near'"), ("jobs/load", "")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "src/etl/main.py").write_text("from .util import word\ndef named(key): return [__name__, word, key]\n")
    (tmp_path / "jobs/load.py").write_text("import etl.main\ndef named(key): return [__name__, etl.main.word, key]\n")
    own = {"import_from": [str(tmp_path / "src")]}
    for path, name in (("src/etl/main.py", "etl.main"), ("jobs/load.py", "load")):
        ended = execute({**function("named", json={"key": 3}), "path": path, **own}, any_python)
        assert ended.result == {"result": [name, "near", 3]}


def test_a_problem_is_reported_though_the_streams_are_gone(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """Code that closed its stderr, or put something odd in its place, still has its problem told."""
    (tmp_path / "job.py").write_text("import sys\nsys.stdout = None\nsys.stderr.close()\nraise KeyError('gone')\n")
    ended = execute(file(), any_python)
    assert (ended.code, ended.result["problem"]["type"]) == (1, "KeyError")


def test_a_missing_file_is_told(execute: Execute, any_python: str) -> None:
    """The folder is there, the file is gone since it was submitted."""
    assert "FileNotFoundError" in uncaught(execute(file("gone.py"), any_python), "FileNotFoundError")


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "GeneratorExit", "RecursionError", "UnicodeError"])
def test_whatever_is_raised_is_a_problem(execute: Execute, tmp_path: Path, kind: str) -> None:
    """Not only what derives from Exception."""
    (tmp_path / "job.py").write_text(f"raise {kind}('\\udc80 \\0')\n")
    uncaught_without_text = execute(file())
    assert uncaught_without_text.code == 1
    assert uncaught_without_text.result["problem"]["type"] == kind


def test_an_exception_that_cannot_be_shown_is_still_a_problem(
    execute: Execute, tmp_path: Path, any_python: str
) -> None:
    """Its text fails to be made, and its chain is a thousand long: the run ends with its kind."""
    (tmp_path / "job.py").write_text(
        "class Mute(Exception):\n    def __str__(self): raise RuntimeError('no words')\nraise Mute\n"
    )
    ended = execute(file(), any_python)
    assert (ended.code, ended.result["problem"]["type"]) == (1, "Mute")
    (tmp_path / "job.py").write_text(
        "error = None\n"
        "for number in range(3000):\n    new = ValueError(number)\n    new.__context__ = error\n    error = new\n"
        "raise error\n"
    )
    ended = execute(file(), any_python)
    assert (ended.code, ended.result["problem"]["type"]) == (1, "ValueError")


# The process --------------------------------------------------------------------------------------


def test_the_environment_is_not_in_the_processs_own_file(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """I3: `/proc/PID/environ` holds the bare entries; `os.environ`, and what the run starts, hold all."""
    (tmp_path / "job.py").write_text(
        "import os, subprocess\n"
        "print(open('/proc/self/environ').read().count('hunter2'), os.environ['API.KEY'])\n"
        "print(subprocess.run(['env'], capture_output=True, text=True).stdout.count('API.KEY=hunter2'))\n"
        "print(sorted(os.environ))\n"
    )
    ended = execute(file(), any_python, {"API.KEY": "hunter2"})
    assert ended.stdout.splitlines() == [
        "0 hunter2",
        "1",
        str(["API.KEY", "LANG", "PATH", "SEALRUN_RUN_ID"]),
    ]


def test_no_descriptor_but_the_streams_reaches_the_code(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """I3: 0, 1, 2 and the result's, which its own children do not inherit; the one with the environment is closed."""
    (tmp_path / "job.py").write_text(
        "import os, subprocess\n"
        "def links(text): return sorted(int(fd) for fd in text.split())\n"
        "own = os.listdir('/proc/self/fd')\n"
        "print(sorted(int(fd) for fd in own if os.path.exists('/proc/self/fd/' + fd)))\n"
        "print(links(subprocess.run(['ls', '/proc/self/fd'], close_fds=False, capture_output=1, text=1).stdout))\n"
    )
    ended = execute(file(), any_python, {"API_KEY": "hunter2"})
    own, childs = map(json.loads, ended.stdout.splitlines())
    assert own == [0, 1, 2, 4], "3 is the program's, and closed"
    assert childs[:3] == [0, 1, 2] and len(childs) == 4, "the fourth is the listing's own"


def test_output_comes_line_by_line(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """A pipe makes Python buffer whole blocks; a follower would see nothing for minutes."""
    (tmp_path / "job.py").write_text("import os\nprint('first')\nos.write(1, b'second\\n')\nprint('third', end='')\n")
    assert execute(file(), any_python).stdout == "first\nsecond\nthird"


PARALLEL = """
import multiprocessing, os, pickle
from concurrent.futures import ProcessPoolExecutor

class Thing:
    def __init__(self, n): self.n = n

def square(thing):
    assert os.environ["API_KEY"] == "hunter2"
    return Thing(thing.n ** 2)

def work():
    assert pickle.loads(pickle.dumps(Thing(3))).n == 3
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return [thing.n for thing in pool.map(square, [Thing(1), Thing(2)])]

if __name__ == "__main__":
    print(work())
"""


@pytest.mark.parametrize("kind", ["file", "module", "function"])
def test_objects_of_the_main_module_cross_processes(
    execute: Execute, tmp_path: Path, any_python: str, kind: str
) -> None:
    """Pickling what `__main__` defines, and spawned worker processes, work as without sealrun."""
    (tmp_path / "job.py").write_text(PARALLEL)
    target = {
        "file": file(),
        "module": {"kind": "module", "module": "job", "argv": []},
        "function": {"kind": "function", "path": "job.py", "function": "work", "text": {}, "json": {}},
    }[kind]
    ended = execute(target, any_python, {"API_KEY": "hunter2"})
    assert ended.code == 0, ended.stderr
    assert ended.result == {"result": [1, 4]} if kind == "function" else ended.stdout == "[1, 4]\n"


def test_an_int_beyond_a_float_survives(execute: Execute, tmp_path: Path) -> None:
    """JSON numbers are not rounded on the way."""
    (tmp_path / "jobs.py").write_text("def f(n): return [n, 2**70, 0.1]\n")
    assert execute(function("f", json={"n": 2**65})).result == {"result": [2**65, 2**70, 0.1]}
    assert math.isclose(0.1, execute(function("f", json={"n": 0})).result["result"][2])


class TestFiles:
    """What secrets that are files become, where something ran in the interpreter before."""

    def written(self, tmp_path: Path, folder: Path) -> tuple[int, str]:
        """The exit code and the last line of a run that has a file in this folder."""
        (tmp_path / "job.py").write_text("")
        target = {"kind": "file", "path": "job.py", "argv": []}
        waiting = children.prepare(
            target=target, python=sys.executable, folder=str(tmp_path), view=plain_view(tmp_path), bare=BARE
        )
        ended = heard(waiting.start({}, {f"{folder}/secret-1": b"value-of-a-file"}))
        assert "value-of-a-file" not in ended.stderr
        return ended.code, (ended.stderr.splitlines() or [""])[-1]

    def test_written(self, tmp_path: Path) -> None:
        """In a folder of the run's own, made now or before."""
        for place in ("new", "there"):
            if place == "there":
                (tmp_path / place).mkdir(mode=0o700)
            assert self.written(tmp_path, tmp_path / place) == (0, "")
            assert (tmp_path / place).stat().st_mode & 0o777 == 0o700
            assert (tmp_path / place / "secret-1").stat().st_mode & 0o777 == 0o400

    def test_not_behind_a_link(self, tmp_path: Path) -> None:
        """I1: it may lead to where files outlive the run."""
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        (tmp_path / "private").symlink_to("elsewhere")
        code, last = self.written(tmp_path, tmp_path / "private")
        assert code == 1 and "Not a directory" in last
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_not_in_a_folder_that_is_open(self, tmp_path: Path) -> None:
        (tmp_path / "private").mkdir()
        (tmp_path / "private").chmod(0o755)
        code, last = self.written(tmp_path, tmp_path / "private")
        assert code == 1 and "is open to others" in last
        assert list((tmp_path / "private").iterdir()) == []


def test_an_error_of_an_object_is_shown_where_it_was_asked_for(tmp_path: Path) -> None:
    """The frames of the user, and none of ours."""
    code = "def rows(data):\n    return data.connect()\n\ndef job(data):\n    return rows(data)\n"
    (tmp_path / "job.py").write_text(code)
    target = {"kind": "function", "path": "job.py", "function": "job", "args": [], "json": {}, "text": {}}
    waiting = children.prepare(
        target=target, python="/usr/bin/python3", folder=str(tmp_path), view=plain_view(tmp_path), bare=BARE
    )
    document = {"role": "source", "name": "ledger", "kind": "postgres", "url": "postgresql://h/db"}
    ended = heard(waiting.start({b"PATH": b"/usr/bin"}, {}, {"data": document}))
    frames = [line.strip() for line in ended.stderr.splitlines() if line.startswith("  File ")]
    assert frames == ['File "job.py", line 5, in job', 'File "job.py", line 2, in rows']
    assert "psycopg is not in this run's Python" in ended.stderr.splitlines()[-1]
