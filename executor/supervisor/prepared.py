"""A box for the run to come, made while that is claimed."""

import contextlib
import os
import select
from collections.abc import Sequence

from executor.sandbox.box import init
from executor.supervisor.child import first_of_box

_MOUNTS = "/proc/self/mountinfo"


class Prepared:
    """It is of no use once something is mounted or unmounted: its own list of mounts is that of when it was made.

    An automounter mounts a folder when the worker looks into it, and a run would find what lies underneath.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        """Have it made, of these parts; none where runs have no box. Who asks for one that is refused is told why."""
        self._box: init.Box | None = None
        self._changed = select.poll()
        self._mounts = -1
        with contextlib.suppress(OSError):
            if parts:
                self._mounts = os.open(_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
                self._changed.register(self._mounts, select.POLLPRI | select.POLLERR)
                self._box = init.make(parts, first_of_box)

    def taken(self) -> init.Box | None:
        """The box, if it is as good as one that were made now; it is the caller's from here on."""
        if self._changed.poll(0):
            self.give_up()
        box, self._box = self._box, None
        return box

    def give_up(self) -> None:
        """End it, unless it was taken: whoever took it may have ended it, and its number be another process's."""
        if self._box is not None:
            self._box.give_up()
            self._box = None
