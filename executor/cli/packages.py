"""Two other distributions install top-level packages called `executor` and `secretstore`: notice before it hurts."""

from importlib.util import find_spec
from pathlib import Path

import executor

_HERE = Path(__file__).resolve().parent.parent.parent
HINT = "another distribution installs a package of that name; install sealrun in an environment of its own"


def foreign() -> str | None:
    """Say which package of our name is not ours, and what was found in its place; nothing of it is imported."""
    found = find_spec("secretstore")
    places = {"executor": executor.__file__, "secretstore": found.origin if found else None}
    for package, place in places.items():
        init = _HERE / package / "__init__.py"
        # Both may have been installed into one folder, so the place alone proves nothing.
        if place is None or Path(place).resolve() != init or not _is_ours(init):
            return f'"import {package}" finds {place or "nothing"}, which is not sealrun\'s'
    return None


def _is_ours(init: Path) -> bool:
    marks = {"executor": "Runs a project's code", "secretstore": "Keeps secrets that can be stored"}
    return init.read_text(encoding="utf-8", errors="replace").startswith(f'"""{marks[init.parent.name]}')
