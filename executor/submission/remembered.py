"""What a process that submits again and again knows of its files: all of it, for as long as none of them has changed.

Nothing is taken from here because time has passed or not: each submission looks whether every file is as it was.
"""

import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace

from executor.schemas.run_request import RunRequest
from executor.settings import Settings
from executor.source import bundles
from executor.source.packing import Packed
from executor.source.sight import SETTLED, Seen, Watch
from executor.submission.context import current_folder
from executor.submission.files import Files
from secretstore import vault
from secretstore.database import Database
from secretstore.vault import EnvironmentView, ProjectView

_KEPT = 64
"""Targets of which a process keeps what it found."""
_PAUSE = 60.0
"""Seconds before files are looked at again that could not be watched, as there are too many of them."""
_OF_FILES = ("target", "folder", "search_path", "python", "packages", "requirements_file", "bundle")
_AROUND = ("HOME", "PATH", "XDG_CONFIG_HOME")
"""What of a request, and of this process, decides which files are looked at and what for."""


@dataclass
class _Known:
    """Files of a request. `files` is found after they were seen as they are for long enough; `seen` None: unwatched."""

    watch: Watch | None
    seen: Seen | None
    since: float
    files: Files | None = None


class Remembered:
    """The files of earlier requests. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[object, _Known] = OrderedDict()

    def files(self, request: RunRequest, settings: Settings) -> Files:
        """Those of an earlier request where none has changed since, else to be looked at anew."""
        key = _key(request)
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
        now = time.monotonic()
        if known is None or known.watch is None or (known.seen is None and now - known.since < _PAUSE):
            return Files(request, settings)
        seen = known.watch.look()
        if seen is None or seen != known.seen:
            self._keep(key, _Known(known.watch, seen, now))
        elif known.files is not None:
            return known.files
        elif now - known.since >= SETTLED:
            # What is found from here on is as new as what was seen, and every later change will be seen.
            return _Settled(request, settings, known)
        return Files(request, settings)

    def learn(self, request: RunRequest, files: Files) -> None:
        """Nothing in them refuses the request."""
        key = _key(request)
        with self._lock:
            known = self._known.get(key)
        if isinstance(files, _Settled):
            if files.known.files is not None:
                return
            if (watch := files.watch()) == files.known.watch:
                files.known.files = files
                return
        elif known is not None and (known.watch is not None or time.monotonic() - known.since < _PAUSE):
            return
        else:
            watch = files.watch()
        self._keep(key, _Known(watch, None if watch is None else watch.look(), time.monotonic()))

    upload = staticmethod(bundles.upload)
    place = staticmethod(vault.get_place)

    def _keep(self, key: object, known: _Known) -> None:
        with self._lock:
            self._known[key] = known
            self._known.move_to_end(key)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)


class _Settled(Files):
    """Files of which nothing has changed for long enough to be remembered."""

    def __init__(self, request: RunRequest, settings: Settings, known: _Known) -> None:
        super().__init__(request, settings)
        self.known = known


class Batch:
    """Submissions of one moment: the files and the place that several of them have are looked at once."""

    def __init__(self, remembered: Remembered) -> None:
        self._remembered = remembered
        self._known: dict[object, Files] = {}
        self._uploaded: set[tuple[str, str]] = set()
        self._places: dict[tuple[str, str], tuple[ProjectView, EnvironmentView]] = {}

    def files(self, request: RunRequest, settings: Settings) -> Files:
        """Those of an earlier one of these, else as they are."""
        key = _key(request)
        if (found := self._known.get(key)) is None:
            found = self._known[key] = self._remembered.files(request, settings)
        return found

    def learn(self, request: RunRequest, files: Files) -> None:
        """Nothing in them refuses the request."""
        self._remembered.learn(request, files)

    def place(self, db: Database, project: str, environment: str) -> tuple[ProjectView, EnvironmentView]:
        """As `vault.get_place`, once for each."""
        if (found := self._places.get((project, environment))) is None:
            found = self._places[project, environment] = vault.get_place(db, project, environment)
        return found

    def upload(self, db: Database, project_id: str, packed: Packed) -> str:
        """As `bundles.upload`, once for a project."""
        if (project_id, packed.digest) not in self._uploaded:
            bundles.upload(db, project_id, packed)
            self._uploaded.add((project_id, packed.digest))
        return packed.digest


def _key(request: RunRequest) -> object:
    asked = [getattr(request, name) for name in _OF_FILES]
    if request.target.kind != "command":  # whose first word is what is looked for
        asked[0] = replace(request.target, argv=())
    folder = None if request.folder is not None else str(current_folder())
    around = (os.environ.get(name) for name in _AROUND)
    return *(tuple(one) if isinstance(one, list) else one for one in asked), folder, *around
