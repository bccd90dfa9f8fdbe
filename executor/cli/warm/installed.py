"""Whether the code that was imported is still the code that is installed."""

import os
import sys

_PACKAGES = ("site-packages", "dist-packages")


class Installed:
    """Every file that this process has imported, and the folders that installers write to."""

    def __init__(self, since: float) -> None:
        """Look at them now; `since` is before the first of them was read."""
        self._files = {file: _state(file) for file in _files()}
        # What was written while it was being read may be either.
        self._unsure = any(state is None or state[0] >= since * 1e9 for state in self._files.values())

    def unchanged(self) -> bool:
        """Whether all of them are as they were."""
        return not self._unsure and all(_state(file) == state for file, state in self._files.items())


def _files() -> set[str]:
    found = {os.path.realpath(sys.executable)}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and os.path.isfile(file):
            found.add(file)
    return found | {folder for folder in sys.path if os.path.basename(folder) in _PACKAGES and os.path.isdir(folder)}


def _state(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
