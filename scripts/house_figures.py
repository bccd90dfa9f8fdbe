"""Figures of the code: `scripts/house_figures.py [CHECKOUT]`, or `--against COMMIT` for two columns.

With --write they go into docs/internals/figures.md, beside those of the commit that the page compares with.
"""

import argparse
import ast
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

CHECKOUT = Path(__file__).resolve().parents[1]
PAGE = CHECKOUT / "docs" / "internals" / "figures.md"
PACKAGES = ("secretstore", "executor")
BEFORE = "fc6dda4"
"""The last commit before the house was redrawn, with layers for folders."""

LONG_FUNCTION = 80
LONG_FILE = 500

HEAD = """\
# Figures of the code

`secretstore/` and `executor/`, without tests; lines of a file are all of its lines. Before: the last commit before the
house was redrawn.

<!-- Written by scripts/house_figures.py --write, by hand before a release: it needs the history. -->
"""


@dataclass(frozen=True)
class Source:
    """A module: its name, its lines, its tree."""

    module: str
    is_package: bool
    lines: int
    tree: ast.Module


def figures(checkout: Path) -> dict[str, str]:
    """What there is to say of a checkout."""
    sources = list(read(checkout))
    lines = sorted(source.lines for source in sources)
    largest = max(sources, key=lambda source: source.lines)
    functions = {
        f"{source.module}.{node.name}": node.end_lineno - node.lineno + 1
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }
    longest = max(functions, key=lambda name: functions[name])
    imported = imports(sources)
    in_root = sum(source.module.count(".") == 1 and source.module.startswith("executor.") for source in sources)
    rooms = {source.module for source in sources if source.is_package and source.module.startswith("executor.")}
    return {
        "files": f"{len(sources):,}",
        "lines": f"{sum(lines):,}",
        "lines of a file, median": f"{median(lines):.0f}",
        "largest file": f"{largest.lines:,} ({largest.module})",
        f"files above {LONG_FILE} lines": f"{sum(count > LONG_FILE for count in lines)}",
        "functions": f"{len(functions):,}",
        "lines of a function, median": f"{median(functions.values()):.0f}",
        "longest function": f"{functions[longest]} ({longest})",
        f"functions above {LONG_FUNCTION} lines": f"{sum(count > LONG_FUNCTION for count in functions.values())}",
        "folders in executor/": f"{sum(room.count('.') == 1 for room in rooms)}",
        "files and folders in executor/'s root": f"{in_root}",
        "circles of imports": shown(circles(imported)),
        "… those of types among them": shown(circles(imports(sources, with_types=True))),
        "modules that import executor.supervisor from outside": f"{outside(imports(sources, with_types=True))}",
        "error classes": f"{sum(map(errors_of, sources))}",
    }


def read(checkout: Path) -> Iterator[Source]:
    """The modules of the two packages."""
    for package in PACKAGES:
        for path in sorted((checkout / package).rglob("*.py")):
            parts = path.relative_to(checkout).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            text = path.read_text(encoding="utf-8")
            module = ".".join(parts[:-1] if is_package else parts)
            yield Source(module, is_package, len(text.splitlines()), ast.parse(text))


def imports(sources: list[Source], with_types: bool = False) -> dict[str, set[str]]:
    """By module, what of the packages it imports when it is imported; `with_types`: what it does for types only too."""
    names = {source.module for source in sources}
    return {
        source.module: {
            found for name in imported(source, source.tree.body, with_types) if (found := nearest(name, names))
        }
        - {source.module}
        for source in sources
    }


def imported(source: Source, body: list[ast.stmt], with_types: bool) -> Iterator[str]:
    """The dotted names that statements import, functions left out: these import when they are called."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module)
        elif isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test) or with_types:
                yield from imported(source, node.body, with_types)
            yield from imported(source, node.orelse, with_types)
        elif isinstance(node, ast.Try | ast.With):
            yield from imported(source, node.body, with_types)


def nearest(name: str, names: set[str]) -> str | None:
    """The module that a dotted name leads to: itself, or the one it is an attribute of."""
    while name and name not in names:
        name = name.rpartition(".")[0]
    return name or None


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules each of which leads to each of the others."""
    reached = {module: reach(module, graph) for module in graph}
    found: list[set[str]] = []
    for module in graph:
        circle = {other for other in reached[module] if module in reached[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def reach(module: str, graph: dict[str, set[str]]) -> set[str]:
    """All that can be come to from a module."""
    seen: set[str] = set()
    waiting = list(graph[module])
    while waiting:
        if (name := waiting.pop()) not in seen:
            seen.add(name)
            waiting += graph.get(name, ())
    return seen


def shown(found: list[set[str]]) -> str:
    """How many, and of how many modules."""
    sizes = ", ".join(str(len(circle)) for circle in sorted(found, key=len))
    return f"{len(found)} (of {sizes} modules)" if found else "0"


def outside(graph: dict[str, set[str]]) -> int:
    """How many modules import what holds plaintext without being part of it."""
    inner = "executor.supervisor"
    return sum(
        not module.startswith(inner) and any(name == inner or name.startswith(f"{inner}.") for name in names)
        for module, names in graph.items()
    )


def errors_of(source: Source) -> int:
    """The classes that files called errors define."""
    if source.module.rpartition(".")[2] != "errors":
        return 0
    return sum(isinstance(node, ast.ClassDef) for node in source.tree.body)


def of_commit(commit: str) -> dict[str, str]:
    """The same of a commit of this checkout's history."""
    archive = subprocess.run(["git", "-C", CHECKOUT, "archive", commit, *PACKAGES], check=True, stdout=subprocess.PIPE)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        return figures(Path(folder))


def table(columns: dict[str, dict[str, str]]) -> str:
    """One row a figure."""
    rows = [f"| | {' | '.join(columns)} |", "| --- |" + " --- |" * len(columns)]
    for name in next(iter(columns.values())):
        rows.append(f"| {name} | {' | '.join(column[name] for column in columns.values())} |")
    return "\n".join([*rows, ""])


def main() -> None:
    """Print the figures, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", nargs="?", type=Path, default=CHECKOUT)
    parser.add_argument("--against", metavar="COMMIT", help="a commit of this checkout to compare with")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}, against {BEFORE}")
    asked = parser.parse_args()
    against = BEFORE if asked.write else asked.against
    columns = {f"before, at {against}": of_commit(against)} if against else {}
    text = table({**columns, "after" if against else str(asked.checkout): figures(asked.checkout)})
    if asked.write:
        PAGE.write_text(f"{HEAD}\n{text}", encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
