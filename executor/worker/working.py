"""How a run has its working folder: its source with a layer of its own over it, a copy, or read-only."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.models import Run
from executor.sandbox.working import COPY, OVERLAY, READ_ONLY, UPPER, owners, trying
from executor.sandbox.working.copy import too_much
from executor.sandbox.working.layers import prepare_written
from executor.sandbox.workspace import Workspace
from executor.worker.equipment import Equipment

_NAME_LIMIT = 255  # bytes


@dataclass(frozen=True)
class WorkingFolder:
    """Where a run finds its code: `folder`, which it can write in unless there is a reason, `why`."""

    source: Path
    folder: Path
    how: str
    why: str | None = None
    written: Path | None = None
    """The folder of the layer over it, if it has one."""
    owners: str = ""
    lent: tuple[Path, ...] = ()
    """Folders that it takes beside those of every run, in which the run alone writes."""

    @property
    def told(self) -> str:
        """What the receipt says of it."""
        return self.how if self.why is None else f"{self.how}: {self.why}"

    def to_json(self) -> dict[str, Any]:
        """As the supervisor gets it."""
        upper = {} if self.written is None else {"upper": str(self.written / UPPER), "owners": self.owners}
        return {"how": self.how, "source": str(self.source), "folder": str(self.folder), "why": self.why, **upper}

    def target(self, target: Mapping[str, Any]) -> dict[str, Any]:
        """A run's target, where a path that was typed in full leads to this folder as well."""
        if self.folder == self.source:
            return dict(target)
        if target["kind"] == "file" and "typed" in target:
            return {**target, "typed": self._here(target["typed"])}
        if target["kind"] == "command" and target["argv"]:
            return {**target, "argv": [self._here(target["argv"][0]), *target["argv"][1:]]}
        return dict(target)

    def _here(self, path: str) -> str:
        inside = os.path.isabs(path) and Path(os.path.normpath(path)).is_relative_to(self.source)
        return str(self.folder / Path(os.path.normpath(path)).relative_to(self.source)) if inside else path


def working_folder(worker: Equipment, run: Run, place: Workspace, source: Path, *, uploaded: bool) -> WorkingFolder:
    """Decide how a run has its working folder, and make what it takes.

    Args:
        worker: what the worker brings.
        run: whose it is.
        place: its private place.
        source: where its code is.
        uploaded: the worker has unpacked it.
    """
    refusal = "this machine has no namespaces for it"
    if worker.host.rung == "namespace":
        refusal = trying.refused(source, worker.settings.workspaces) or ""
    if not refusal:
        prepare_written(place.written, place.uid)
        owner = os.stat(source).st_uid
        how = owners.plan(owner, place.uid, readable_anyway=uploaded or worker.only_its_user)
        return WorkingFolder(source, source, OVERLAY, written=place.written, owners=how)
    if (why := too_much(source)) is not None:
        return WorkingFolder(source, source, READ_ONLY, why)
    place.lend(place.copies)
    return WorkingFolder(source, place.copies / _name(run.source_root), COPY, lent=(place.copies,))


def _name(root: str) -> str:
    """What the source is called where it was submitted; a row may say anything."""
    name = os.path.basename(root.rstrip("/"))
    usable = name not in ("", ".", "..") and "\0" not in name and len(os.fsencode(name)) <= _NAME_LIMIT
    return name if usable else "source"
