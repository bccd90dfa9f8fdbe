"""The dependencies of a pyproject.toml as Poetry wrote them before `[project]`, as requirements that installers read.

Caret and tilde are https://python-poetry.org/docs/dependency-specification/; the rest is what PEP 440 and 508 say.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from executor.errors import RequirementsRefused

PLACE = "[tool.poetry.dependencies] of pyproject.toml"

_ELSEWHERE = ("git", "path", "url", "file", "source")
_PART = re.compile(r"(?P<sign>\^|~(?!=)|)\s*(?P<version>[0-9][^\s,*]*)")


def dependencies(table: Mapping[str, Any]) -> tuple[list[str], str | None] | None:
    """Return requirements and `requires-python`; None where a pyproject.toml has no such table.

    Raises:
        RequirementsRefused: one has a form that an installer cannot be told.
    """
    listed = _table(_table(table.get("tool")).get("poetry")).get("dependencies")
    if not isinstance(listed, dict):
        return None
    python = listed.get("python")
    requires = _specifiers("python", python) if isinstance(python, str) else None
    lines = [line for name, wanted in listed.items() if name != "python" for line in _lines(name, wanted)]
    return lines, requires or None


def _lines(name: str, wanted: Any) -> Iterator[str]:
    for one in wanted if isinstance(wanted, list) else [wanted]:
        found = {"version": one} if isinstance(one, str) else one
        if not isinstance(found, dict):
            raise _refused(name, "its version is none")
        if found.get("optional"):
            continue  # of an extra, which nobody has asked for
        if elsewhere := [key for key in _ELSEWHERE if key in found]:
            raise _refused(name, f"it comes from a {elsewhere[0]}")
        extras = f"[{','.join(map(str, found['extras']))}]" if found.get("extras") else ""
        markers = [f"({found['markers']})"] if found.get("markers") else []
        if "python" in found:
            versions = SpecifierSet(_specifiers(name, found["python"]))
            markers += [f'python_full_version {one.operator} "{one.version}"' for one in versions]
        if "platform" in found:
            markers.append(f'sys_platform == "{found["platform"]}"')
        condition = f" ; {' and '.join(markers)}" if markers else ""
        yield f"{name}{extras}{_specifiers(name, found.get('version', '*'))}{condition}"


def _specifiers(name: str, constraint: Any) -> str:
    """A constraint of Poetry's in the words of PEP 440; empty where it allows everything."""
    if not isinstance(constraint, str) or "|" in constraint:
        raise _refused(name, "its versions are not one range")
    parts = [part for part in re.split(r"\s*,\s*|(?<=[0-9a-z*])\s+(?=[\^~<>=!0-9])", constraint.strip()) if part]
    try:
        said = ",".join(_part(part) for part in parts if part != "*")
        return str(SpecifierSet(said))
    except (InvalidVersion, InvalidSpecifier):
        raise _refused(name, "its version is none") from None


def _part(part: str) -> str:
    found = _PART.fullmatch(part)
    if found is None:
        return f"=={part}" if part[0].isdigit() else part  # `1.2.*`, or a comparison as PEP 440 has it
    if not found["sign"]:
        return f"=={found['version']}"
    version = Version(found["version"])
    release = version.release
    if found["sign"] == "~":
        kept = min(len(release), 2)
    else:
        kept = next((place for place, number in enumerate(release, 1) if number), len(release))
    return f">={version},<{'.'.join(map(str, (*release[: kept - 1], release[kept - 1] + 1)))}"


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _refused(name: str, why: str) -> RequirementsRefused:
    return RequirementsRefused(
        "{place}: {name} cannot be installed from here: {why}",
        place=PLACE,
        name=name,
        why=why,
        hint="write it to requirements.txt (poetry export), or to dependencies of [project]",
    )
