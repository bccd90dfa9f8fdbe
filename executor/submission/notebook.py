"""What a notebook needs to be executed, and what is certainly wrong with one; neither executed nor imported."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from executor.errors import RequirementsRefused, TargetUnusable
from executor.python import requirements
from executor.sandbox.reading import all_of, head_of
from executor.schemas.target import Target
from secretstore.errors import SealrunError

PACKAGES = ("nbclient>=0.10,<1", "ipykernel>=6.29,<8", "nbconvert>=7.16,<8")
"""What executes a notebook and makes a page of it, in an environment that is built for the run."""

_NEEDED = ("nbclient", "ipykernel")
_LARGEST = 256 << 20  # bytes
_MARK_LIMIT = 64 << 10  # of a pyvenv.cfg


def refusals(root: Path, target: Mapping[str, Any]) -> Iterator[SealrunError]:
    """Yield what is certainly wrong with a target that is a notebook."""
    if target["kind"] != "notebook":
        return
    path = root / target["path"]
    try:
        if path.stat().st_size > _LARGEST:
            return  # the run finds out
        book = json.loads(all_of(path, _LARGEST))
    except OSError:
        return
    except (ValueError, RecursionError):
        book = None
    if not isinstance(book, dict) or not isinstance(book.get("nbformat"), int):
        yield TargetUnusable("{path} is not a notebook: it is not the JSON that Jupyter writes", path=target["path"])
        return
    language: Any = book
    for key in ("metadata", "kernelspec", "language"):
        language = language.get(key) if isinstance(language, dict) else None
    language = str(language or "python")
    if language.lower() != "python":
        yield TargetUnusable(
            "{path} is a notebook of {language}, and only those of Python are executed",
            path=target["path"],
            language=language,
        )


def with_packages(document: dict[str, Any] | None) -> dict[str, Any] | None:
    """Add what executes a notebook to what is installed; not to a file with hashes, which has to name it itself."""
    if document is not None and document["hashed"]:
        return document
    return requirements.with_packages(document, PACKAGES)


def check(target: Target, python: str | None) -> None:
    """Refuse an interpreter that certainly cannot execute a target that is a notebook.

    Raises:
        RequirementsRefused: it is of an environment that lacks what that takes.
    """
    if target.kind == "notebook" and python is not None and _is_closed(python) and (name := lacking(python)):
        raise RequirementsRefused(
            "{python} has no {name}, which executes notebooks",
            python=python,
            name=name,
            hint=f"install it there, or have an environment built for the run: --with {name}, without --python PATH",
        )


def lacking(python: str | None) -> str | None:
    """What an interpreter lacks to execute a notebook, as far as its folders show; None if nothing."""
    prefix = Path(python or "/").parent.parent
    places = [*prefix.glob("lib*/python3*/*-packages")]
    if prefix == Path("/usr"):
        places += Path("/usr/local").glob("lib*/python3*/*-packages")
    return next((name for name in _NEEDED if not any((place / name).is_dir() for place in places)), None)


def _is_closed(python: str) -> bool:
    """Tell whether an interpreter is of an environment that has its own packages alone."""
    try:
        mark = head_of(Path(python).parent.parent / "pyvenv.cfg", _MARK_LIMIT).decode()
    except (OSError, ValueError):
        return False
    return "include-system-site-packages=true" not in mark.lower().replace(" ", "").splitlines()
