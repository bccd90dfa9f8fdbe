"""What a caller of the Python API gives, as what an operation takes."""

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from executor.errors import RequestUnclear
from executor.schemas.run_keywords import RunKeywords
from executor.schemas.target import Target
from executor.submission.target import check_module, parse

WHAT: Mapping[str, Any] = {
    "target": None, "module": None, "command": None, "argv": (), "args": (), "folder": None,
}  # fmt: skip
"""What to run, as `Client.run` takes it, with what it is if nobody says; all else are options."""

_NEAR = 0.75  # as args and argv are to argz


def target_of(target: str | None, module: str | None, command: Sequence[str] | None, argv: Sequence[str]) -> Target:
    """What is to run, of the three ways to say it.

    Raises:
        RequestUnclear: none or several of them are given, or one is of another type.
    """
    if sum(given is not None for given in (target, module, command)) != 1:
        raise RequestUnclear("one of target, module and command says what to run")
    for name, value in (("target", target), ("module", module)):
        if value is not None and not isinstance(value, str):
            raise RequestUnclear("{name} is text, and this is of the type {kind}", name=name, kind=type(value).__name__)
    words = tuple(names_of("argv", argv) or ())
    if command is not None:
        named = names_of("command", command)
        if not named or words:
            raise RequestUnclear("command is a program and all of its words")
        return Target("command", argv=tuple(named))
    if module is not None:
        check_module(module)
        return Target("module", name=module, argv=words)
    assert target is not None
    if target.startswith("-"):
        raise RequestUnclear("{target} is no file; see module= and command=", target=target)
    found = parse([target])
    if found.kind in ("function", "notebook") and words:
        raise RequestUnclear("argv is for files and modules; a {kind} takes args", kind=found.kind)
    return Target(found.kind, found.path, found.name, words)


def arguments_of(wanted: Target, args: Mapping[str, Any] | Sequence[Any]) -> tuple[dict[str, Any], list[Any]]:
    """The arguments of a function or notebook, by name and by position.

    Raises:
        RequestUnclear: the target takes none, or one is no JSON value.
    """
    if isinstance(args, str | bytes) or not isinstance(args, Mapping | Sequence):
        kind = type(args).__name__
        raise RequestUnclear(
            "args is a mapping by name or a list by position, and this is of the type {kind}", kind=kind
        )
    if args and wanted.kind not in ("function", "notebook"):
        raise RequestUnclear("args are for functions and notebooks; files and modules take argv")
    if isinstance(args, Mapping):
        return {name: _as_json(name, value) for name, value in args.items()}, []
    if args and wanted.kind == "notebook":
        raise RequestUnclear("a notebook's parameters have names: args is a mapping")
    return {}, [_as_json(str(number), value) for number, value in enumerate(args, 1)]


def _as_json(name: str, value: Any) -> Any:
    """What a value is once it has been stored and read again."""
    try:
        return json.loads(json.dumps(value, allow_nan=False), object_pairs_hook=_one_value_per_key)
    except (TypeError, ValueError, RecursionError):
        raise RequestUnclear(
            "argument {name} cannot be given to a run: {kind} is not JSON, or holds what is not",
            name=name,
            kind=type(value).__name__,
            hint="pass text, numbers, booleans, None, and lists and mappings of them",
        ) from None


def _one_value_per_key(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a dict with keys such as 1 and "1", which are one key in JSON."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError
    return found


def check_options(options: Mapping[str, Any], what: Collection[str]) -> None:
    """Refuse a name that no option has; `what` are the names for what is to run.

    Raises:
        RequestUnclear: one of them is unknown.
    """
    for name in options:
        if name not in RunKeywords.__annotations__:
            near = sorted(get_close_matches(name, [*RunKeywords.__annotations__, *what], 2, _NEAR))
            hint = f"did you mean {' or '.join(near)}?" if near else None
            raise RequestUnclear("there is no option {name}", name=name, hint=hint)


def folder_of(folder: Any) -> Path:
    """A folder from its path.

    Raises:
        RequestUnclear: it is of another type.
    """
    if not isinstance(folder, str | os.PathLike):
        raise RequestUnclear("folder is a path, and this is of the type {kind}", kind=type(folder).__name__)
    return Path(folder)


def items_of(items: Any) -> Iterable[Any]:
    """Several runs.

    Raises:
        RequestUnclear: they are no list.
    """
    if not isinstance(items, Iterable) or isinstance(items, str | bytes | Mapping):
        raise RequestUnclear(
            "items is a list of mappings, one for each run, and this is of the type {kind}", kind=type(items).__name__
        )
    return items


def item_of(item: Any) -> Mapping[str, Any]:
    """One of several runs.

    Raises:
        RequestUnclear: it is no mapping by name.
    """
    if not isinstance(item, Mapping) or not all(isinstance(name, str) for name in item):
        raise RequestUnclear(
            "it is a mapping of what run() takes, and this is of the type {kind}", kind=type(item).__name__
        )
    return item


def by_name(given: Mapping[str, Any]) -> dict[str, Any]:
    """What to run, and its options apart."""
    what = {name: given[name] for name in WHAT}
    return {**what, "options": {name: value for name, value in given.items() if name not in WHAT}}


def check_seconds(**given: float | None) -> None:
    """Refuse what is no number.

    Raises:
        RequestUnclear: one is of another type.
    """
    for name, value in given.items():
        if value is not None and not isinstance(value, int | float):
            raise RequestUnclear(
                "{name} is a number of seconds, and this is of the type {kind}", name=name, kind=type(value).__name__
            )


def names_of(option: str, given: Collection[str] | None) -> "list[str] | None":
    """A list of words; a word alone would be taken for its letters.

    Raises:
        RequestUnclear: it is no list, or holds something else.
    """
    if given is None:
        return None
    listed = isinstance(given, Collection) and not isinstance(given, str | bytes)
    if not (listed and all(isinstance(word, str) for word in given)):
        raise RequestUnclear("{option} is a list of words", option=option)
    return list(given)


def environ_of(settings: Mapping[str, str] | None) -> dict[str, str]:
    """The environment with these SEALRUN_… settings in the place of its own.

    Raises:
        RequestUnclear: they are no mapping of texts, or another name is among them.
    """
    if settings is None:
        return dict(os.environ)
    if not isinstance(settings, Mapping) or not all(isinstance(name, str) for name in settings):
        raise RequestUnclear(
            "settings is a mapping of names to texts, and this is of the type {kind}", kind=type(settings).__name__
        )
    if foreign := [name for name in settings if not name.startswith("SEALRUN_")]:
        raise RequestUnclear("the client's settings are SEALRUN_… names, and {name} is none", name=min(foreign))
    if odd := [name for name, value in settings.items() if not isinstance(value, str)]:
        raise RequestUnclear("in settings, {name} is not text", name=min(odd))
    rest = {name: value for name, value in os.environ.items() if not name.startswith("SEALRUN_")}
    return rest | dict(settings)
