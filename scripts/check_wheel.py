"""Checks the file list of a built wheel: `python scripts/check_wheel.py dist/sealrun-*.whl`."""

import re
import sys
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PLACES = {"secretstore": "secretstore", "executor": "executor", "examples": "executor/examples"}
"""Folders of the checkout that ship, and where in the wheel."""


def main(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if not name.endswith("/")}
    problems = [f"missing: {name}" for name in sorted(expected() - shipped)]
    metadata = re.compile(r"sealrun-[^/]+\.dist-info/")
    problems += [f"does not belong: {name}" for name in sorted(shipped - expected()) if not metadata.match(name)]
    problems += [
        f"a test: {name}" for name in sorted(shipped) if re.search(r"(^|/)(tests?|conftest\.py)(/|$)|/test_", name)
    ]
    if problems:
        sys.exit("\n".join([f"{wheel}:", *problems]))
    print(f"{wheel}: {len(shipped)} files, all expected, no test among them")


def expected() -> set[str]:
    """Every source file of the checkout's shipped folders, under its name in the wheel."""
    names = {"secretstore/py.typed", "executor/py.typed"}
    for folder, place in PLACES.items():
        for path in (CHECKOUT / folder).rglob("*"):
            name = path.relative_to(CHECKOUT / folder).as_posix()
            if path.is_file() and path.suffix != ".pyc" and not name.startswith("."):
                names.add(f"{place}/{name}")
    return names


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
