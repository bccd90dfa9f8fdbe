"""What a target's text says against running it: mistakes are told beforehand, and nothing that would run is refused."""

import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from executor.errors import ArgumentsRefused, TargetUnusable
from executor.schemas.target import Target
from executor.submission import signature

OURS = sys.version_info[:2]
NEWER = (OURS[0], OURS[1] + 1)

PLAIN = """
import datetime
import logging
import re
from datetime import date
log = logging.getLogger(__name__)
def load(n: int, kind="x", *, day: date = None, share: "float | None" = None, dry: bool = False,
         when: datetime.date = None):
    return n, re.compile("x")
async def wait(n): ...
def many(*numbers: int, **more): ...
def first(n, /): ...
def _hidden(): ...
class Job:
    def __init__(self, n): ...
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "job.py").write_text(PLAIN)
    return tmp_path


def told(root: Path, name: str, *words: str, version: Any = OURS, positional: tuple[Any, ...] = (), **text: str) -> Any:
    """What is said of calling a function of job.py with these words."""
    document = Target("function", "job.py", name, words).document("job.py", text, {}, positional)
    return list(signature.refusals(root, document, version))


def kinds(found: list[Exception]) -> list[type[Exception]]:
    return [type(one) for one in found]


class TestFunctions:
    @pytest.mark.parametrize(
        ("words", "text", "why"),
        [
            ((), {}, "missing n"),
            (("1",), {"m": "2"}, "it has no argument m"),
            (("1",), {"knid": "2"}, "it has no argument knid, did you mean kind?"),
        ],
    )
    def test_wrong_names_of_arguments_are_a_sentence(
        self, root: Path, words: tuple[str, ...], text: dict[str, str], why: str
    ) -> None:
        """With the function's signature, without its defaults and the value that was given (I10)."""
        (found,) = told(root, "load", *words, **text)
        assert isinstance(found, ArgumentsRefused)
        assert str(found).startswith("load(n: int, kind=…, *, day: date=…, ") and str(found).endswith(f": {why}")

    @pytest.mark.parametrize(
        ("name", "words", "text"),
        [
            ("load", ("4",), {}),
            ("load", ("4", "TEA"), {"day": "2026-01-01", "dry": "YES", "share": "1e3", "when": "2026-01-01"}),
            ("wait", ("x",), {}),
            ("many", ("a", "2", "3"), {"other": "y"}),
            ("first", ("1",), {}),
            ("_hidden", (), {}),
            ("Job", (), {}),
            ("log", ("anything",), {}),
        ],
    )
    def test_right_ones_are_not(self, root: Path, name: str, words: tuple[str, ...], text: dict[str, str]) -> None:
        """A class, and what is no plain function, is left to the run."""
        assert told(root, name, *words, **text) == []

    def test_values_by_position_count_and_one_by_position_only_has_no_name(self, root: Path) -> None:
        """What a value is, the run judges."""
        assert told(root, "load", positional=("four",)) == []
        (named,) = told(root, "first", n="1")
        assert str(named) == "first(n, /): it has no argument n"
        (root / "job.py").write_text("def load(a, b=1, *, c, d=2): ...\n")
        (missing,) = told(root, "load", d="1")
        assert str(missing) == "load(a, b=…, *, c, d=…): missing a, c"

    def test_a_name_that_is_not_there_is_told_with_near_ones(self, root: Path) -> None:
        """Or with what there is."""
        (near,) = told(root, "laod", "1")
        assert isinstance(near, TargetUnusable) and str(near) == "job.py has no function laod"
        assert near.hint == "did you mean load?"
        (far,) = told(root, "zzzzz")
        assert far.hint == "it has load, wait or many"
        assert told(root, "__init__") == []  # it is somewhere in the file, so the run decides


@pytest.mark.parametrize(
    "code",
    [
        "from helpers import *",
        "def __getattr__(name): return print",
        "globals()['load'] = print",
        "exec('def load(): pass')",
        "import sys\nsetattr(sys.modules[__name__], 'load', print)",
        "import sys\nsys.modules[__name__].load = print",
        "import helpers\nhelpers.install(__name__)",
        "import builtins\nbuiltins.exec('load = print')",
        "def make():\n    global load\n    load = print\nmake()",
        "if True:\n    def load(): ...",
        "try:\n    from fast import load\nexcept ImportError:\n    def load(a): ...",
        "load = lambda: 1",
        "class load: ...",
        "from x import y as load",
        "import load",
        "for load in (print,): pass",
        "with open('x') as load: pass",
        "if (load := print): pass",
        "match print:\n    case load: pass",
        "a, (load, b) = 1, (print, 2)",
        "load: object = print",
        "def load(a): ...\nload = print",
        "def wrap(f): return print\n@wrap\ndef load(a): ...",
        "def load(a): ...\ndef load(): ...",
        "import functools\ndef load(a): ...\nfunctools.update_wrapper(load, print)",
        "def load(a): ...\nload.__signature__ = None",
        "def load(a): ...\nfrom helpers import *",
        "def load(a): ...\ndel load\nfrom x import load",
        "def load(*a, **k): ...",
        "def load(b=1, *, c=2): ...",
        "try: pass\nexcept* ValueError as load: pass",
        "type load = int" if OURS >= (3, 12) else "load = int",
        "def make(load=(load := print)): ...",
        "try:\n    raise ValueError\nexcept ValueError as load: pass",
        "N = int\ndef load(a: N = 1): ...",
        "while True:\n    break\nelse:\n    load = print",
    ],
)
def test_what_may_be_bound_as_the_file_runs_is_not_refused(root: Path, code: str) -> None:
    """Conditional, decorated, assigned, imported, injected: the run finds out, with no argument at all."""
    (root / "job.py").write_text(code + "\n")
    assert told(root, "load") == []


class TestSyntax:
    BROKEN = "def load(:\n"

    def test_what_python_does_not_read_is_refused_with_its_line(self, root: Path) -> None:
        """Of a file as of a function's file, where the run's Python is ours or older."""
        (root / "job.py").write_text("x = 1\n" + self.BROKEN)
        for target in (Target("file", "job.py"), Target("function", "job.py", "load")):
            document = target.document("job.py", {}, {})
            (found,) = signature.refusals(root, document, OURS)
            assert isinstance(found, TargetUnusable)
            assert str(found) == "job.py is not valid Python: line 2: invalid syntax"
            assert kinds(list(signature.refusals(root, document, (3, 9)))) == [TargetUnusable]

    @pytest.mark.parametrize("version", [None, NEWER])
    def test_a_python_that_may_know_more_decides_itself(self, root: Path, version: Any) -> None:
        """A file of tomorrow's syntax is not refused today."""
        (root / "job.py").write_text(self.BROKEN)
        assert told(root, "load", version=version) == []

    @pytest.mark.parametrize(
        "data", [b"x = '\\d'\n", b"x is 1\n", b"\xef\xbb\xbfx = 1\n", b"# coding: latin-1\n\xe9=1\n"]
    )
    def test_warnings_refuse_nothing(self, root: Path, data: bytes) -> None:
        """Not even where they are errors; and none is shown."""
        (root / "job.py").write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert list(signature.refusals(root, Target("file", "job.py").document("job.py", {}, {}), OURS)) == []

    @pytest.mark.parametrize("data", [b"\0", b"(" * 5000 + b")" * 5000, b"x = " + b"-" * 100_000 + b"1"])
    def test_what_is_too_much_for_a_look_is_no_fault_of_ours(self, root: Path, data: bytes) -> None:
        """No other exception comes out."""
        (root / "job.py").write_bytes(data)
        assert set(kinds(told(root, "load"))) <= {TargetUnusable}


def test_an_interpreters_version_is_read_and_not_asked(tmp_path: Path) -> None:
    """From the mark of its environment, or its file's name behind links; else it is not known."""
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/pyvenv.cfg").write_text("home = /usr/bin\nversion_info = 3.12.1.final.0\n")
    (tmp_path / "venv/bin/python").touch()
    (tmp_path / "python3.13").touch()
    (tmp_path / "python3").symlink_to("python3.13")
    (tmp_path / "other").touch()
    assert signature.version_of(str(tmp_path / "venv/bin/python")) == (3, 12)
    assert signature.version_of(str(tmp_path / "python3")) == (3, 13)
    assert signature.version_of(str(tmp_path / "other")) is None
    assert signature.version_of(None) is None
