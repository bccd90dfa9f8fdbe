"""Find mistakes in a target's text, without executing or importing it.

Only what is certain is refused: wrong syntax, a missing function, and wrong argument names of a plain function. If a
file may bind names as it runs, or if the run's Python may be newer than ours, the run decides.
"""

import ast
import difflib
import re
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.errors import ArgumentsRefused, TargetUnusable
from executor.sandbox.reading import head_of
from secretstore.errors import SealrunError

Version = tuple[int, int]
_Function = ast.FunctionDef | ast.AsyncFunctionDef

_FILE_LIMIT = 4 << 20  # bytes; longer files are left to the run
_MARK_LIMIT = 64 << 10  # of a pyvenv.cfg
_NEAR = 3
# A module that uses one of these may bind names, or change a function's signature, as it runs.
_DYNAMIC = frozenset(
    {
        "*", "exec", "eval", "globals", "locals", "vars", "setattr", "delattr", "builtins", "modules", "update_wrapper",
        "_getframe", "currentframe", "f_globals", "f_locals", "__import__", "__builtins__", "__getattr__", "__dict__",
        "__code__", "__signature__", "__wrapped__", "__defaults__", "__kwdefaults__", "__text_signature__",
    }
)  # fmt: skip
_TAKES_A_NAME = ("getLogger", "get_logger")
_turn = threading.Lock()


def refusals(root: Path, target: Mapping[str, Any], version: Version | None) -> Iterator[SealrunError]:
    """Yield what is certainly wrong with a target, see `understood`."""
    yield from understood(root, target, version).refusals(target)


@dataclass(frozen=True)
class Understood:
    """What a target's text certainly says: that it is `wrong`, or how its function is defined."""

    wrong: SealrunError | None = None
    function: _Function | None = None

    def refusals(self, target: Mapping[str, Any]) -> Iterator[SealrunError]:
        """Yield what is certainly wrong with a target of this text, and with its arguments."""
        if self.wrong is not None:
            yield self.wrong
        elif self.function is not None:
            yield from _arguments(self.function, target)


def understood(root: Path, target: Mapping[str, Any], version: Version | None) -> Understood:
    """Read a target's text.

    Args:
        root: the source root.
        target: as the run stores it, its path relative to the root.
        version: of the run's interpreter; None if unknown.
    """
    if target["kind"] not in ("file", "function"):
        return Understood()
    text = _text(root / target["path"])
    if text is None:
        return Understood()
    if broken := _syntax(text, target["path"], version):
        return Understood(broken)
    return _of_function(text, target["path"], target["function"]) if target["kind"] == "function" else Understood()


def version_of(python: str | None, asked: str | None = None) -> Version | None:
    """Return the version asked for, else that of an interpreter from its pyvenv.cfg or its file's name."""
    if asked is not None:
        major, minor = asked.split(".")[:2]
        return int(major), int(minor)
    if python is None:
        return None
    path, mark, name = Path(python), "", ""
    try:
        name = path.resolve().name
        mark = head_of(path.parent.parent / "pyvenv.cfg", _MARK_LIMIT).decode()
    except (OSError, ValueError, RuntimeError):  # no such file, not text, or a loop of links
        pass
    found = re.search(r"(?m)^version(?:_info)?\s*=\s*(\d+)\.(\d+)", mark) or re.fullmatch(r"python(\d+)\.(\d+)", name)
    return (int(found[1]), int(found[2])) if found else None


def _text(path: Path) -> bytes | None:
    try:
        text = head_of(path, _FILE_LIMIT + 1)
    except OSError:
        return None
    return text if len(text) <= _FILE_LIMIT else None


def _syntax(text: bytes, path: str, version: Version | None) -> TargetUnusable | None:
    """Check a text's syntax, unless the run's Python may be newer than ours and know more."""
    if version is None or version > sys.version_info[:2]:
        return None
    try:
        _quietly(lambda: compile(text, path, "exec", dont_inherit=True))
    except SyntaxError as error:
        return TargetUnusable(
            "{path} is not valid Python: line {line}: {why}", path=path, line=error.lineno or 1, why=error.msg
        )
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return None
    return None


def _quietly(act: Any) -> Any:
    """Act without warnings: the run shows them, and a filter that makes errors of them would refuse it."""
    with _turn, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return act()


def _of_function(text: bytes, path: str, name: str) -> Understood:
    try:
        tree: ast.Module = _quietly(lambda: ast.parse(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return Understood()
    nodes = list(ast.walk(tree))
    words = {word for node in nodes for word in _words(node)}
    # Names may be bound as the file runs: nothing about it is certain.
    if not _DYNAMIC.isdisjoint(words) or any(_hands_over_the_module(node) for node in nodes):
        return Understood()
    if name not in words:
        missing = "{path} has no function {function}"
        return Understood(TargetUnusable(missing, path=path, function=name, hint=_nearest(name, tree)))
    # The signature is certain only if this is the one place that binds the name, without a decorator.
    found = [one for one in tree.body if isinstance(one, _Function) and one.name == name]
    if len(found) == 1 and not found[0].decorator_list and sum(_binds(node, name) for node in nodes) == 1:
        return Understood(None, found[0])
    return Understood()


def _words(node: ast.AST) -> Iterator[str]:
    """Yield every identifier and text of a node: a file cannot bind a name that is not among them."""
    for _, value in ast.iter_fields(node):
        yield from (word for word in (value if isinstance(value, list) else [value]) if isinstance(word, str))


def _hands_over_the_module(node: ast.AST) -> bool:
    """Tell whether a node is `something(__name__)`, which may change this module; loggers do not."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    names = (given.id for given in node.args if isinstance(given, ast.Name))
    return "__name__" in names and called not in _TAKES_A_NAME


def _binds(node: ast.AST, name: str) -> bool:
    """Tell whether a node may bind a name in any scope; reading it, an argument or a text does not."""
    if isinstance(node, ast.arg | ast.keyword | ast.Constant):
        return False
    return not isinstance(getattr(node, "ctx", None), ast.Load) and name in _words(node)


def _nearest(name: str, tree: ast.Module) -> str:
    functions = list(dict.fromkeys(one.name for one in tree.body if isinstance(one, _Function)))
    if near := difflib.get_close_matches(name, functions, _NEAR):
        return f"did you mean {_or(near)}?"
    public = [one for one in functions if not one.startswith("_")]
    return f"it has {_or(public[:_NEAR])}" if public else ""


def _or(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _arguments(function: _Function, target: Mapping[str, Any]) -> Iterator[ArgumentsRefused]:
    """Yield arguments that the function does not have, or those that are missing."""
    takes = function.args
    in_order = [one.arg for one in (*takes.posonlyargs, *takes.args)]
    by_name = [one.arg for one in (*takes.args, *takes.kwonlyargs)]
    optional = in_order[len(in_order) - len(takes.defaults) :]
    optional += [one.arg for one, default in zip(takes.kwonlyargs, takes.kw_defaults, strict=True) if default]
    positional = target.get("args", ())
    named = [word for kind in ("text", "json", "sources", "catalogs") for word in target.get(kind, ())]
    shown = {"function": function.name, "signature": _shown(takes)}
    if takes.kwarg is None:
        for name in named:
            if name not in by_name:
                near = difflib.get_close_matches(name, by_name, _NEAR)
                why = f"it has no argument {name}" + (f", did you mean {_or(near)}?" if near else "")
                yield ArgumentsRefused(why=why, **shown)
                return
    given = {*in_order[: len(positional)], *named, *optional}
    if missing := [name for name in dict.fromkeys((*in_order, *by_name)) if name not in given]:
        yield ArgumentsRefused(why=f"missing {', '.join(missing)}", **shown)


def _shown(takes: ast.arguments) -> str:
    """Write a signature as the file does, without defaults, which may be confidential."""
    hidden: list[ast.expr] = [ast.Name("…") for _ in takes.defaults]
    alone: list[ast.expr | None] = [default and ast.Name("…") for default in takes.kw_defaults]
    spelled = ast.arguments(
        posonlyargs=takes.posonlyargs, args=takes.args, vararg=takes.vararg, kwonlyargs=takes.kwonlyargs,
        kw_defaults=alone, kwarg=takes.kwarg, defaults=hidden,
    )  # fmt: skip
    return f"({ast.unparse(spelled)})"
