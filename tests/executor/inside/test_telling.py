"""What a target leaves is told, whatever it does when it is looked at: as a failure, a result, or a note."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.executor.run_process import Ended, Execute


def call(execute: Execute, folder: Path, body: str, python: str | None = None) -> Ended:
    """What comes of a function with this body."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (folder / "jobs.py").write_text(f"import os, sys\n\ndef job():\n{lines}")
    target = {"kind": "function", "path": "jobs.py", "function": "job", "text": {}, "json": {}}
    return execute(target, **({"python": python} if python else {}))


RAISED = {
    "its text exits": "class Odd(Exception):\n    def __str__(self): raise SystemExit(0)\nraise Odd",
    "its text interrupts": "class Odd(Exception):\n    def __str__(self): raise KeyboardInterrupt\nraise Odd",
    "a cause's text exits": "class Odd(Exception):\n    def __str__(self): sys.exit()\n"
    "class Outer(Exception): pass\nraise Odd from Odd()",
    "its notes are no list": "class Odd(Exception): pass\nodd = Odd('why')\nodd.__notes__ = 5\nraise odd",
    "its notes exit": "class Odd(Exception):\n    @property\n    def __notes__(self): sys.exit()\nraise Odd('why')",
    "its class lies": "class Odd(Exception):\n    @property\n    def __class__(self): sys.exit()\nraise Odd('why')",
    "its class has no module": "class Meta(type):\n    @property\n    def __module__(cls): sys.exit()\n"
    "class Odd(Exception, metaclass=Meta): pass\nraise Odd",
    "its line is a text": "class Odd(SyntaxError): pass\nraise Odd('why', ('f.py', 'x', 'y', 'z'))",
    "its line is below zero": "class Odd(SyntaxError): pass\nraise Odd('why', ('f.py', -1, -5, b'text'))",
    "its file is no path": "class Odd(SyntaxError): pass\nraise Odd('why', (object(), 1, None, None))",
    "its members exit": "class Odd(Exception):\n    @property\n    def exceptions(self): sys.exit()\nraise Odd('why')",
    "its text is more than text": "class Text(str):\n    def __len__(self): sys.exit()\n"
    "class Odd(Exception):\n    def __str__(self): return Text('why')\nraise Odd",
    "stderr exits": "class Err:\n    def write(self, text): sys.exit()\n    flush = write\n"
    "class Odd(Exception): pass\nsys.stdout = sys.stderr = Err()\nraise Odd('why')",
    "the way out does not work": "class Odd(Exception): pass\nsys.exit = print\nraise Odd('why')",
}


@pytest.mark.parametrize("body", RAISED.values(), ids=RAISED.keys())
def test_an_exception_is_a_failure_however_odd_it_is(execute: Execute, tmp_path: Path, body: str) -> None:
    """Its code is 1, or 120 as always where streams fail, and its kind is told, whatever asking for its text does."""
    ended = call(execute, tmp_path, body)
    assert ended.code in (1, 120) and ended.result["problem"]["type"].endswith("Odd")
    assert ended.result["problem"]["message"][:3] in ("why", "<ex", "[Er")
    assert "Odd" in ended.result["problem"]["traceback"]


def test_what_python_cannot_print_still_shows_where_it_was_raised(
    execute: Execute, tmp_path: Path, any_python: str
) -> None:
    """The frames are the user's, whatever the exception itself does."""
    body = "class Odd(SyntaxError):\n    def __str__(self): sys.exit()\nraise Odd('why', ('f.py', 'x', 'y', 'z'))"
    traceback = call(execute, tmp_path, body, any_python).result["problem"]["traceback"]
    assert traceback.startswith('Traceback (most recent call last):\n  File "jobs.py", line 6, in job\n')
    assert traceback.endswith("job.<locals>.Odd: <exception str() failed>\n")


def test_an_exception_that_ends_the_process_has_been_told(execute: Execute, tmp_path: Path) -> None:
    """The supervisor hears that there is one before any of its own code is asked."""
    ended = call(execute, tmp_path, "class Odd(Exception):\n    def __str__(self): os._exit(0)\nraise Odd")
    assert (ended.code, ended.result) == (0, '{"problem":')


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("if os.fork() == 0: return 'child'\nos.wait(); return 'parent'", {"result": "parent"}),
        ("if os.fork() == 0: raise ValueError\nos.wait(); return 'parent'", {"result": "parent"}),
        ("if os.fork() == 0: sys.exit(3)\nos.wait(); return 'parent'", {"result": "parent"}),
        ("if os.fork() == 0: return 'child'\nos.wait(); os._exit(0)", None),
        ("sys.exit(0)", {"result": None}),
        ("os.closerange(3, 256); return 1", None),
        ("os.closerange(3, 256); own = [os.open('jobs.py', os.O_RDWR) for _ in range(9)]; return 1", None),
    ],
)
def test_a_result_is_that_of_the_runs_own_process(execute: Execute, tmp_path: Path, body: str, result: Any) -> None:
    """A fork of it reports nothing, and a descriptor that became a file of the job's own is not written to."""
    ended = call(execute, tmp_path, body)
    assert (ended.code, ended.result) == (0, result)
    assert (tmp_path / "jobs.py").read_text().startswith("import os, sys\n")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return {1: 'a', '1': 'b'}", '$ is a dict with two keys that are "1" in JSON'),
        ("return [{'x y': {None: 1, 'null': 2}}]", '$[0]["x y"] is a dict with two keys that are "null" in JSON'),
        ("class Sly(dict):\n    def items(self): sys.exit()\nreturn Sly(a=1)", "looking through it raised SystemExit"),
    ],
)
def test_what_a_result_would_lose_is_told(execute: Execute, tmp_path: Path, body: str, said: str) -> None:
    """JSON's keys are texts: of two that become the same, one value would be gone without a word."""
    ended = call(execute, tmp_path, body)
    assert ended.code == 0 and set(ended.result) == {"note"} and said in ended.result["note"]


@pytest.mark.parametrize("name", ["json", "numbers", "token", "types"])
def test_a_job_may_be_called_like_a_module_of_python(execute: Execute, tmp_path: Path, name: str) -> None:
    """What is used to tell of it is not the job's own file of that name; the job itself finds its own."""
    code = "import datetime, sys\ndef day(): return [datetime.date(2026, 1, 2), sys.modules[__name__].__file__]\n"
    (tmp_path / f"{name}.py").write_text(f"{code}def fail(n: int): raise ValueError(n)\n")
    target = {"kind": "function", "path": f"{name}.py", "function": "day", "text": {}, "json": {}}
    assert execute(target).result == {"result": ["2026-01-02", str(tmp_path / f"{name}.py")]}
    problem = execute({**target, "function": "fail", "text": {"n": "1"}}).result["problem"]
    assert (problem["type"], problem["message"]) == ("ValueError", "1")
    assert problem["traceback"].startswith("Traceback") and "def fail(n: int): raise" in problem["traceback"]


def test_text_that_is_no_unicode_is_stored_and_told(execute: Execute, tmp_path: Path) -> None:
    """Such as the name of a file from another system; a character beyond the first plane is text like any other."""
    ended = call(execute, tmp_path, "return [os.fsdecode(b'caf\\xe9.csv'), '\\U0001f600']")
    assert ended.result["result"] == ["caf\udce9.csv", "\U0001f600"] and "U+FFFD" in ended.result["note"]
    assert call(execute, tmp_path, "return ['\\U0001f600', 'caf\\xe9']").result == {"result": ["\U0001f600", "café"]}
    assert json.dumps(ended.result).isascii()
