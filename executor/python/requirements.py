"""Find and check the requirements of a run's Python environment, where the run is submitted.

Their texts are stored with the run, so that exactly what was submitted is built. Nothing is resolved, executed or
imported here.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from executor.errors import FileUnreadable, RequirementsRefused
from executor.python import poetry
from executor.sandbox.reading import head_of

TEXT_LIMIT = 4 << 20
"""Bytes that may describe one environment; a lock of a thousand packages has a quarter of it."""

_SCRIPT_READ = 256 << 20  # bytes of a target that are searched for its block; a notebook may be large
_VERSION = re.compile(r"[0-9]+\.[0-9]+(\.[0-9]+)?")
# As in PEP 723, https://packaging.python.org/en/latest/specifications/inline-script-metadata/
_BLOCK = re.compile(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
_GIT_VARIABLE = re.compile(r"git\+[a-z]+://\S*\$\{")
_USER = re.compile(r"(?P<scheme>[a-z+]+)://(?P<user>[^/\s:@'\"]*)(?::(?P<password>[^/\s@'\"]*))?@")
_INCLUDE = re.compile(r"(-r|-c|--requirements?|--constraints?)(?:\s+|=|(?<=-[rc]))(?P<path>\S.*)")
_EDITABLE = re.compile(r"(-e|--editable)(?:\s+|=)(?P<what>\S.*)")
_COMMENT = re.compile(r"(^|\s)#.*$")
_OPTION = re.compile(r"\s--?[a-z].*$")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tar.bz2", ".tgz")


def is_version(python: str) -> bool:
    """Tell whether `--python` names a version, as in `3.12` or `3.12.4`, and not a path."""
    return _VERSION.fullmatch(python) is not None


def of_script(script: Path) -> dict[str, Any] | None:
    """Read the PEP 723 block of a Python file or of a notebook's cells; None if it has none.

    Raises:
        RequirementsRefused: the block is not valid, or something in it cannot be used.
    """
    try:
        text = head_of(script, _SCRIPT_READ).decode()
        text = _code_of(text) if script.suffix == ".ipynb" else text
    except (OSError, ValueError, RecursionError):
        return None  # running it fails, too, and says why
    blocks = list(_BLOCK.finditer(text.replace("\r\n", "\n")))
    if not blocks:
        return None
    first = text[: blocks[0].start()].count("\n") + 1
    if len(blocks) > 1:
        raise RequirementsRefused(place=_place(script.name, first), why="the file has two blocks `# /// script`")
    body = "".join(
        line[2:] if line.startswith("# ") else line[1:] for line in blocks[0]["content"].splitlines(keepends=True)
    )
    table = _toml(script.name, body, before=first)
    # Its keys are those of `[project]` and come before any table, so this turns it into a pyproject.toml.
    pyproject = f'[project]\nname = "script"\nversion = "0"\n{body}'
    _toml(script.name, pyproject, before=first - 3)
    return _of_table(script.name, pyproject, table, table, before=first - 3)


def of_source(root: Path, listed: Sequence[str] | None) -> dict[str, Any] | None:
    """Read the requirements of a source root; None if it has none, or if `listed` says that none count.

    `listed` (`dependencies` of sealrun's own table), else the dependencies in `pyproject.toml`, with the versions of
    `uv.lock` if there is one, else `requirements.txt`, else what Poetry's own table lists, else a `pyproject.toml` that
    says there are none.

    Raises:
        RequirementsRefused: one of them cannot be used.
        FileUnreadable: a file cannot be read.
    """
    if listed is not None:
        return with_packages(None, listed, "dependencies of sealrun's project file") if listed else None
    declared, table = None, {}
    pyproject = root / "pyproject.toml"
    if pyproject.is_file():
        text = _read(pyproject)
        table = _toml(pyproject.name, text)
        project = table.get("project")
        if isinstance(project, dict) and "dependencies" in project:
            declared = _of_table("pyproject.toml", text, table, project)
    if declared is not None and installs(declared):
        return _locked(root, declared)
    if (root / "requirements.txt").is_file():
        return from_file(root / "requirements.txt")
    return declared or _of_poetry(table)


def _of_poetry(table: dict[str, Any]) -> dict[str, Any] | None:
    if (found := poetry.dependencies(table)) is None:
        return None
    lines, requires = found
    return with_packages(_document("list", {}, requires_python=requires), lines, poetry.PLACE)


def from_file(path: Path) -> dict[str, Any]:
    """Read a requirements file with the files that it includes.

    Raises:
        RequirementsRefused: a line cannot be used.
        FileUnreadable: a file cannot be read.
    """
    files: dict[str, str] = {}
    left = [path.name]
    empty, hashed = True, False
    while left:
        name = left.pop()
        if name in files:
            continue
        files[name] = _read(path.parent / name)
        for number, line in _lines(files[name]):
            at = name, number
            if included := _INCLUDE.fullmatch(line):
                left.append(_included(included["path"], name, at))
            elif line.startswith("-"):
                _check_option(line, at)
            else:
                hashed = hashed or "--hash" in line
                empty = False
                _check(_OPTION.sub("", line), *at)
    # The file first, then those that it includes in a fixed order, so that the same files make the same document.
    ordered = {path.name: files.pop(path.name), **dict(sorted(files.items()))}
    if empty:
        return _document("list", {})
    return _document("requirements", ordered, entry=path.name, hashed=hashed)


def with_packages(document: dict[str, Any] | None, packages: Sequence[str], where: str = "--with") -> dict[str, Any]:
    """Add packages to a document; errors name `where` as their place.

    Raises:
        RequirementsRefused: one cannot be used, or the document has hashes, which then everything needs.
    """
    for package in packages:
        _check(package, where, None)
    found = document or _document("list", {})
    if packages and found["hashed"]:
        raise RequirementsRefused(
            place=where, why=f"{found['entry']} has hashes, so packages without a hash cannot be added"
        )
    return found | {"with": [*found["with"], *packages]}


def check(document: Mapping[str, Any]) -> None:
    """Refuse a document that somebody else has made, where this module would not have made it.

    Raises:
        RequirementsRefused: it is too large, or names a file outside, a password or a local package.
    """
    size = sum(len(text.encode()) for text in document["files"].values())
    if size > TEXT_LIMIT:
        raise _too_large(", ".join(document["files"]), size)
    for name, text in document["files"].items():
        _included(name, "", (name, 1))
        for number, line in _lines(text) if document["kind"] == "requirements" else ():
            if included := _INCLUDE.fullmatch(line):
                _included(included["path"], name, (name, number))
            elif line.startswith("-"):
                _check_option(line, (name, number))
            else:
                _check(_OPTION.sub("", line), name, number)
    if document["kind"] == "requirements" and document["entry"] not in document["files"]:
        raise RequirementsRefused(place="requirements", why="the file that they begin with is missing")
    for package in document["with"]:
        if len(package.splitlines()) != 1:
            raise RequirementsRefused(place="--with", why="a package is one line")
        _check(package, "--with", None)


def installs(document: Mapping[str, Any] | None) -> bool:
    """Tell whether anything is to be installed; a document that names nothing asks for an environment all the same."""
    return document is not None and bool(document["files"] or document["with"])


def allows(document: dict[str, Any] | None, version: str) -> bool:
    """Tell whether `requires-python` allows an interpreter of this version."""
    wanted = document.get("requires_python") if document else None
    return wanted is None or SpecifierSet(wanted).contains(version, prereleases=True)


def _code_of(notebook: str) -> str:
    """The code of a notebook, as one text; a cell's may be a list of lines."""
    book = json.loads(notebook)
    cells = book.get("cells") if isinstance(book, dict) else None
    code = [
        cell.get("source", "")
        for cell in (cells if isinstance(cells, list) else ())
        if isinstance(cell, dict) and cell.get("cell_type") == "code"
    ]
    return "\n".join(one if isinstance(one, str) else "".join(map(str, one)) for one in code) + "\n"


def _document(
    kind: str,
    files: dict[str, str],
    *,
    requires_python: str | None = None,
    entry: str | None = None,
    hashed: bool = False,
) -> dict[str, Any]:
    """Make the document that is stored: `kind` says how to read `files`, `with` lists further packages."""
    size = sum(len(text.encode()) for text in files.values())
    if size > TEXT_LIMIT:
        raise _too_large(", ".join(files), size)
    return {
        "kind": kind,
        "files": files,
        "entry": entry,
        "with": [],
        "requires_python": requires_python,
        "hashed": hashed,
    }


def _locked(root: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Add the versions of `uv.lock`, if there is one."""
    if not (root / "uv.lock").is_file():
        return document
    lock = _read(root / "uv.lock")
    for number, line in enumerate(lock.splitlines(), 1):
        _refuse_password(line, "uv.lock", number)
    files = {**document["files"], "uv.lock": lock}
    return _document("uv.lock", files, requires_python=document["requires_python"])


def _of_table(name: str, text: str, table: dict[str, Any], project: dict[str, Any], before: int = 0) -> dict[str, Any]:
    """Check a project's dependencies line by line; leave `[tool.uv]` to uv.

    Args:
        name: the file's name, for messages.
        text: a pyproject.toml.
        table: the parsed text.
        project: its `[project]`.
        before: number of lines in the file before the text.
    """
    dependencies = project.get("dependencies", [])
    if not isinstance(dependencies, list) or not all(isinstance(line, str) for line in dependencies):
        raise RequirementsRefused(place=name, why="dependencies is not a list of texts")
    requires = _requires_python(name, text, project, before)
    if not dependencies:
        return _document("list", {}, requires_python=requires)
    for number, line in enumerate(text.splitlines(), 1):
        _refuse_password(line, name, before + number)
    for line in dependencies:
        _check(line, name, before + _line_of(text, line))
    for package in _local_sources(table):
        at = before + _line_of(text, package)
        raise _local(_place(name, at), f"the source of {package}")
    return _document("pyproject.toml", {"pyproject.toml": text}, requires_python=requires)


def _local_sources(table: dict[str, Any]) -> Iterator[str]:
    """Yield the packages that `[tool.uv.sources]` takes from a folder."""
    tool = table.get("tool")
    uv = tool.get("uv") if isinstance(tool, dict) else None
    sources = uv.get("sources") if isinstance(uv, dict) else None
    for package, source in sources.items() if isinstance(sources, dict) else ():
        for one in source if isinstance(source, list) else [source]:
            if isinstance(one, dict) and (one.get("workspace") or "path" in one):
                yield package


def _requires_python(name: str, text: str, project: dict[str, Any], before: int) -> str | None:
    requires = project.get("requires-python")
    if requires is None:
        return None
    place = _place(name, before + _line_of(text, "requires-python"))
    try:
        return str(SpecifierSet(requires))
    except (InvalidSpecifier, TypeError, AttributeError):
        raise RequirementsRefused(
            place=place, why="requires-python is not a range of versions such as >=3.11"
        ) from None


class _Line(NamedTuple):
    number: int
    text: str


def _lines(text: str) -> Iterator[_Line]:
    """Yield the lines of a requirements file as pip reads them: joined, without comments and empty lines."""
    whole, began = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        began = began or number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            whole += line[:-1] + " "
            continue
        whole = _COMMENT.sub("", whole + line).strip()
        if whole:
            yield _Line(began, whole)
        whole, began = "", 0
    if whole.strip():
        yield _Line(began, whole.strip())


def _included(path: str, by: str, at: tuple[str, int]) -> str:
    found = os.path.normpath(os.path.join(os.path.dirname(by), path.strip("'\"")))
    if "://" in path or os.path.isabs(found) or found.startswith(".."):
        raise _local(_place(*at), path)
    return found


def _check_option(line: str, at: tuple[str, int]) -> None:
    _refuse_password(line, *at)
    if editable := _EDITABLE.fullmatch(line):
        _check(editable["what"], *at)
    for option in ("--find-links", "-f"):
        if line.startswith(option) and "://" not in line:
            raise _local(_place(*at), line)


def _check(line: str, file: str, number: int | None) -> None:
    """Refuse a requirement that is not valid, or that names a local file: the worker that builds may not have it.

    Never quotes a line with a password.
    """
    place = _place(file, number)
    _refuse_password(line, file, number)
    line = line.strip()
    location = line.partition(" @ ")[2].strip() or line
    if location.startswith("file:") or (location is line and _is_local(line)):
        raise _local(place, line)
    if location is line and "://" in line:
        return
    try:
        Requirement(line)
    except InvalidRequirement as error:
        why = str(error).strip().splitlines()[0].rstrip(".:") if line else "it is empty"
        raise RequirementsRefused(
            place=place, why=f"{line!r} is not a requirement: {why[:1].lower()}{why[1:]}"
        ) from None


def _is_local(line: str) -> bool:
    bare = line.partition(";")[0].partition("[")[0].strip()
    return "://" not in bare and (bare.startswith((".", "/", "~")) or "/" in bare or bare.endswith(_ARCHIVES))


def _refuse_password(line: str, file: str, number: int | None) -> None:
    """Refuse a URL with a password, or with a token in place of the user; a variable that uv fills in is fine.

    Except for git, to which uv passes it as an argument that every process of the machine can read.
    """
    if _GIT_VARIABLE.search(line):
        raise RequirementsRefused(
            "{place}: a variable in a git URL becomes an argument of git, which every process of the machine can read",
            place=_place(file, number),
            hint="take the package from an index and pass its password with --setup-secret; "
            "docs/how-to/python.md says how",
        )
    for found in _USER.finditer(line):
        user, password = found["user"], found["password"]
        of_web = found["scheme"].rpartition("+")[2] in ("http", "https")
        bare = of_web and user not in ("", "git") and not user.startswith("${")
        if (password and not password.startswith("${")) or (bare and password is None):
            raise RequirementsRefused(
                "{place}: a URL contains a user or a password, which would be stored with the run",
                place=_place(file, number),
                hint="store it as a secret and pass --setup-secret; "
                "docs/how-to/python.md says how the installer finds it",
            )


def _place(file: str, number: int | None) -> str:
    return file if number is None else f"{file}, line {number}"


def _line_of(text: str, word: str) -> int:
    return next((number for number, line in enumerate(text.splitlines(), 1) if word in line), 1)


def _toml(name: str, text: str, before: int = 0) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        why = str(error)
        if before and (at := re.search(r"at line (\d+)", why)):
            why = why.replace(at.group(), f"at line {before + int(at[1])}")
        raise RequirementsRefused(place=name, why=why[:1].lower() + why[1:]) from None
    except RecursionError:
        raise RequirementsRefused(place=name, why="it is nested too deeply") from None


def _read(path: Path) -> str:
    try:
        data = head_of(path, TEXT_LIMIT + 1)
        if len(data) > TEXT_LIMIT:
            raise _too_large(path.name, os.stat(path).st_size)
        return data.decode("utf-8-sig")
    except OSError as error:
        raise FileUnreadable(path=path, why=(error.strerror or "").lower()) from None
    except UnicodeDecodeError:
        raise FileUnreadable(path=path, why="it is not UTF-8 text") from None


def _local(place: str, what: str) -> RequirementsRefused:
    return RequirementsRefused(
        "{place}: {what} is on this machine, but the environment may be built on another",
        place=place,
        what=what,
        hint="name a package of an index, or a URL; code in the source root needs no installation",
    )


def _too_large(names: str, size: int) -> RequirementsRefused:
    return RequirementsRefused(
        "{files}: too large to describe an environment: {size:,} bytes, at most {limit:,}",
        files=names,
        size=size,
        limit=TEXT_LIMIT,
    )
