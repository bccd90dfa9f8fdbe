"""What a target's own text says against running it, found without executing or importing any of it.

Only what is certain is refused: where a file may bind its names as it runs, or where the run's Python may be newer than
ours, the run decides. The sentences are those that the run itself would end with; what was given as an argument is not
quoted in them, as nothing masks it here.
"""

import ast
import datetime
import difflib
import inspect
import re
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.errors import ArgumentsRefused, TargetUnusable
from executor.supervisor.connections import mapped
from secretstore.errors import SealrunError

Version = tuple[int, int]

_FILE_LIMIT = 4 << 20  # bytes; what is longer is left to the run
_NEAR = 3
_TEXT_LIMIT = 1000  # characters
_MARK = "pyvenv.cfg"
# A module that uses one of these may bind names, or change a function's signature, as it runs.
_DYNAMIC_NAMES = frozenset(
    {"exec", "eval", "globals", "locals", "vars", "setattr", "delattr", "builtins", "__import__", "__builtins__"}
)
_DYNAMIC_ANYWHERE = frozenset(
    {
        "__getattr__", "__dict__", "modules", "_getframe", "currentframe", "f_globals", "f_locals", "update_wrapper",
        "__code__", "__signature__", "__wrapped__", "__defaults__", "__kwdefaults__", "__annotations__",
        "__text_signature__",
    }
)  # fmt: skip
_PLAIN_NAME_TAKERS = ("getLogger", "get_logger")
_turn = threading.Lock()


def refusals(root: Path, target: Mapping[str, Any], version: Version | None) -> Iterator[SealrunError]:
    """What is certain to be wrong with a target.

    Args:
        root: the source root.
        target: as the run stores it, its path relative to the root.
        version: of the run's interpreter; None where it is not known.
    """
    if target["kind"] == "module":
        yield from _of_module(root, target["module"], version)
    elif target["kind"] in ("file", "function"):
        text = _text(root / target["path"])
        broken = _syntax(text, target["path"], version) if text is not None else None
        if broken is not None:
            yield broken
        elif text is not None and target["kind"] == "function":
            yield from _of_function(text, target)


def version_of(python: str | None, asked: str | None = None) -> Version | None:
    """The version that was asked for, else an interpreter's by the mark of its environment or its file's name."""
    if asked is not None:
        major, minor = asked.split(".")[:2]
        return int(major), int(minor)
    if python is None:
        return None
    path = Path(python)
    try:
        lines = (path.parent.parent / _MARK).read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    said = {key.strip().lower(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    told = said.get("version_info") or said.get("version") or ""
    found = re.match(r"(\d+)\.(\d+)", told) or re.fullmatch(r"python(\d+)\.(\d+)", _resolved_name(path))
    return (int(found[1]), int(found[2])) if found else None


def _resolved_name(path: Path) -> str:
    try:
        return path.resolve().name
    except (OSError, RuntimeError):  # a loop of links
        return ""


def _text(path: Path) -> bytes | None:
    try:
        with open(path, "rb") as file:
            text = file.read(_FILE_LIMIT + 1)
    except OSError:
        return None
    return text if len(text) <= _FILE_LIMIT else None


def _syntax(text: bytes, path: str, version: Version | None) -> TargetUnusable | None:
    """What Python says of a text; nothing where the run's Python may be newer than this one, and know more."""
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
    """Without warnings: they are the run's to show, and a filter that makes errors of them would refuse it."""
    with _turn, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return act()


# -- modules


def _of_module(root: Path, name: str, version: Version | None) -> Iterator[SealrunError]:
    """A module that is not in a package of the source root, which alone can have it."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts) or parts[0] in sys.stdlib_module_names:
        return
    folder = root
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        package = folder / part
        if _is_regular(package):
            if _may_find_more(package / "__init__.py"):
                return
            if is_last and not _has_module(package, "__main__"):
                yield TargetUnusable(
                    "there is no module {module}: {folder} has no {missing}",
                    module=name,
                    folder=_shown(root, package),
                    missing="__main__.py",
                )
                return
            folder = package
            found: Path | None = package / "__main__.py"
        elif _has_module(folder, part) or number == 0:
            found = folder / f"{part}.py" if is_last else None
            break
        else:
            if not package.is_dir():
                near = difflib.get_close_matches(part, _modules(folder), _NEAR)
                hint = f"did you mean {_or(near)}?" if near else ""
                missing = f"{part}.py" if is_last else f"package {part}"
                yield TargetUnusable(
                    "there is no module {module}: {folder} has no {missing}",
                    module=name,
                    folder=_shown(root, folder),
                    missing=missing,
                    hint=hint,
                )
            return
    if found is not None and (text := _text(found)) is not None:
        broken = _syntax(text, str(found.relative_to(root)), version)
        if broken is not None:
            yield broken


def _is_regular(folder: Path) -> bool:
    return (folder / "__init__.py").is_file()


def _has_module(folder: Path, name: str) -> bool:
    """As a file of its own: source, compiled, or an extension."""
    return any(entry.is_file() for entry in folder.glob(f"{name}.*"))


def _may_find_more(init: Path) -> bool:
    """A package may have modules elsewhere, or of its own making."""
    text = _text(init)
    words = (b"__path__", b"modules", b"meta_path", b"extend_path", b"path_hooks", b"exec", b"import_module")
    return text is None or any(word in text for word in words)


def _modules(folder: Path) -> list[str]:
    files = [entry.stem for entry in folder.glob("*.py") if entry.stem != "__init__"]
    return files + [entry.parent.name for entry in folder.glob("*/__init__.py")]


def _shown(root: Path, folder: Path) -> str:
    return f"{folder.relative_to(root)}/" if folder != root else "the source root"


# -- functions


def _of_function(text: bytes, target: Mapping[str, Any]) -> Iterator[SealrunError]:
    try:
        tree: ast.Module = _quietly(lambda: ast.parse(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return
    try:
        bound = _Bindings.of(tree)
    except RecursionError:
        return
    name = target["function"]
    if bound.dynamic:
        return
    if name not in bound.names:
        yield TargetUnusable(
            "{path} has no function {function}", path=target["path"], function=name, hint=_nearest(name, tree, bound)
        )
    elif bound.names[name] == 1:
        for statement in tree.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name == name:
                if not statement.decorator_list:
                    yield from _arguments(statement, target, bound)
                return


@dataclass
class _Bindings:
    """What the statements of a module bind, how often, and whether something may bind more as it runs."""

    names: dict[str, int] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    """What an import bound: the name, and what it stands for, as in `date` and `datetime.date`."""
    dynamic: bool = False

    @classmethod
    def of(cls, tree: ast.Module) -> "_Bindings":
        bound = cls()
        bound._scope(tree.body)
        for node in ast.walk(tree):
            bound._anywhere(node)
        return bound

    def _bind(self, name: str) -> None:
        self.names[name] = self.names.get(name, 0) + 1

    def _scope(self, nodes: list[Any]) -> None:
        """Everything below, except what has a scope of its own."""
        for node in nodes:
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    self._bind(node.name)
                    # A decorator, a default or a base may hold a walrus; a body binds for itself.
                    own = [child for child in ast.iter_child_nodes(node) if child not in node.body]
                    self._scope(own)
                    continue
                case ast.Lambda():
                    continue
                case ast.Name(ctx=ast.Store() | ast.Del()):
                    self._bind(node.id)
                case ast.Import():
                    for alias in node.names:
                        self._imported(alias.asname or alias.name.partition(".")[0], alias.name)
                case ast.ImportFrom():
                    for alias in node.names:
                        self._imported(alias.asname or alias.name, f"{node.module}.{alias.name}")
                case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                    self._bind(name)
                case ast.MatchMapping(rest=str(name)):
                    self._bind(name)
            self._scope(list(ast.iter_child_nodes(node)))

    def _imported(self, name: str, meaning: str) -> None:
        self._bind(name)
        self.modules[name] = meaning

    def _anywhere(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            self.dynamic |= node.id in _DYNAMIC_NAMES or node.id in _DYNAMIC_ANYWHERE
        elif isinstance(node, ast.Attribute):
            self.dynamic |= node.attr in _DYNAMIC_ANYWHERE
            if isinstance(node.ctx, ast.Store):
                self._bind(node.attr)
        elif isinstance(node, ast.Call):
            self.dynamic |= any(_hands_over_the_module(node, given) for given in node.args)
        elif isinstance(node, ast.FunctionDef):
            self.dynamic |= node.name == "__getattr__"
        elif isinstance(node, ast.ImportFrom):
            self.dynamic |= any(alias.name in ("*", *_DYNAMIC_ANYWHERE) for alias in node.names)
        elif isinstance(node, ast.Global):
            for name in node.names:
                self._bind(name)


def _hands_over_the_module(call: ast.Call, given: ast.expr) -> bool:
    """`something(__name__)` may reach into this module; a logger's name is no such thing."""
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return isinstance(given, ast.Name) and given.id == "__name__" and called not in _PLAIN_NAME_TAKERS


def _nearest(name: str, tree: ast.Module, bound: _Bindings) -> str:
    functions = [one.name for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    if near := difflib.get_close_matches(name, dict.fromkeys([*functions, *bound.names]), _NEAR):
        return f"did you mean {_or(near)}?"
    public = [one for one in dict.fromkeys(functions) if not one.startswith("_")]
    return f"it has {_or(public[:_NEAR])}" if public else ""


def _or(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


# -- arguments


class _Source:
    """A piece of a signature, shown as the file spells it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


_DEFAULT = _Source("…")
"""In the place of every default, which may be a value that nobody else should see."""


def _arguments(
    function: ast.FunctionDef | ast.AsyncFunctionDef, target: Mapping[str, Any], bound: _Bindings
) -> Iterator[ArgumentsRefused]:
    """As `inspect.Signature.bind` and the run's own conversion have it."""
    try:
        signature = _signature(function.args)
    except ValueError:  # two parameters of one name: the run's Python says so
        return
    shown = {"function": function.name, "signature": str(signature)}
    positional = target.get("args", ())
    text, values = target.get("text", {}), {**target.get("json", {}), **mapped(target)}
    takes_any = any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values())
    unknown = [name for name in (*text, *values) if name not in signature.parameters and not takes_any]
    if unknown:
        yield ArgumentsRefused(why=f"it has no argument {', '.join(unknown)}", **shown)
        return
    try:
        signature.bind(*positional, **text, **values)
    except TypeError as error:
        yield ArgumentsRefused(why=str(error), **shown)
        return
    for name, given, word in _texts(signature, positional, text):
        wanted = signature.parameters[name].annotation
        kind = None if wanted is inspect.Parameter.empty else _known_type(repr(wanted), bound)
        if kind is not None and not _converts(word, kind):
            yield ArgumentsRefused(why=f"argument {given} is no {kind}", **shown)


def _signature(arguments: ast.arguments) -> inspect.Signature:
    kinds = inspect.Parameter
    empty = kinds.empty
    plain: list[tuple[ast.arg, Any]] = [(one, kinds.POSITIONAL_ONLY) for one in arguments.posonlyargs]
    plain += [(one, kinds.POSITIONAL_OR_KEYWORD) for one in arguments.args]
    without = len(plain) - len(arguments.defaults)
    found = [_parameter(one, kind, empty if number < without else _DEFAULT) for number, (one, kind) in enumerate(plain)]
    if arguments.vararg is not None:
        found.append(_parameter(arguments.vararg, kinds.VAR_POSITIONAL, empty))
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found.append(_parameter(one, kinds.KEYWORD_ONLY, empty if default is None else _DEFAULT))
    if arguments.kwarg is not None:
        found.append(_parameter(arguments.kwarg, kinds.VAR_KEYWORD, empty))
    return inspect.Signature(found)


def _parameter(one: ast.arg, kind: Any, default: Any) -> inspect.Parameter:
    annotation: Any = inspect.Parameter.empty
    if one.annotation is not None:
        annotation = _Source(ast.unparse(one.annotation))
    return inspect.Parameter(one.arg, kind, default=default, annotation=annotation)


def _texts(signature: inspect.Signature, positional: Any, text: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """The arguments that are text: the parameter each lands on, what to call it, and the text."""
    for name, word in text.items():
        if name in signature.parameters and signature.parameters[name].kind is not inspect.Parameter.VAR_KEYWORD:
            yield name, name, word
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    by_place = [one for one in signature.parameters.values() if one.kind in kinds]
    for parameter, given in zip(by_place, positional, strict=False):
        if "text" in given:
            yield parameter.name, parameter.name, given["text"]


def _known_type(annotation: str, bound: _Bindings) -> str | None:
    """`int`, `float`, `bool` or `date`, as the run reads an annotation; None where the file may mean another."""
    for mark in "|,[]'\"":
        annotation = annotation.replace(mark, " ")
    words = [word for word in annotation.split() if word.rpartition(".")[2] not in _OR_NONE]
    if len(set(words)) != 1:
        return None
    word = words[0]
    if word in ("int", "float", "bool"):
        return word if word not in bound.names else None
    first, _, rest = word.partition(".")
    meaning = ".".join(filter(None, (bound.modules.get(first, ""), rest)))
    return "date" if meaning == "datetime.date" and bound.names.get(first) == 1 else None


_OR_NONE = ("Optional", "Union", "None", "NoneType")


def _converts(text: str, kind: str) -> bool:
    """Whether the run would take a text for one of these."""
    if len(text) > _TEXT_LIMIT:  # how many digits are too many is for the run's Python to say
        return True
    try:
        match kind:
            case "int":
                int(text)
            case "float":
                float(text)
            case "bool":
                return text.lower() in ("true", "yes", "1", "false", "no", "0")
            case "date":
                datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True
