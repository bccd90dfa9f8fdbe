"""How a run is ended: which signal comes when, and who hears it.

The whole tree hears each signal, wherever the process is that has something to save: below a shell, in a pipe, in a
session of its own. Nobody is killed before the time is over.
"""

import contextlib
import os
import signal
import time
from collections import deque

from executor.masking import scanner
from executor.sandbox import tree

LOOK = 0.05  # seconds between two looks at who is left
_AGAIN = 1.0  # seconds between two kills
# Seconds in which a process that reads from a pipe has to see that nobody writes to it any more, and end by itself.
_END_OF_PIPE = 0.5
_LISTED = 1.0  # seconds for killing what can be listed

AT_ONCE = ("lost", "out_of_memory", "process_limit", "disk_limit")
"""Reasons for which there is no grace."""


class Ending:
    """What is still to come for a run that has to end; nothing as long as it has not to."""

    def __init__(self, int_grace: float, term_grace: float) -> None:
        self.reason: str | None = None
        self.kills = 0
        self._graces = ((signal.SIGINT, int_grace), (signal.SIGTERM, term_grace))
        self._signals: deque[tuple[float, int]] = deque()  # when to send which
        self._number = 0  # the one sent last
        self._readers: dict[int, float] = {}  # who has yet to hear it, and until when at most
        self._patience = 0.0

    def begin(self, reason: str) -> None:
        """Begin to end the run, unless that has begun: INT if it was cancelled, TERM, KILL, with a grace after each.

        A lost run is killed at once: nobody is left to drain it for. So is one that takes what is not its own.
        """
        if self.reason is not None and (reason != "lost" or self.reason == "lost"):
            return
        self.reason = reason
        at = time.monotonic()
        self._signals.clear()
        self._readers.clear()
        skipped = 0 if reason == "cancelled" else len(self._graces) if reason in AT_ONCE else 1
        for number, grace in self._graces[skipped:]:
            self._signals.append((at, number))
            at += grace
        self._signals.append((at, signal.SIGKILL))

    @property
    def gentle(self) -> bool:
        """Whether what is left of the tree still has time to end by itself."""
        return self.reason is not None and self.reason not in AT_ONCE and not self.kills

    @property
    def next_at(self) -> float | None:
        """When `act` has something to do."""
        due = [at for at, _ in list(self._signals)[:1]]
        return min([*due, *([time.monotonic() + LOOK] if self._readers else [])], default=None)

    def act(self, pid: int, *, passes_on: bool = False) -> None:
        """Send what is due to the tree whose first process is `pid`; `passes_on` if that tells whom we do not see."""
        now = time.monotonic()
        while self._signals and now >= self._signals[0][0]:
            _, self._number = self._signals.popleft()
            if self._number == signal.SIGKILL:
                signal_group(pid, self._number)
                self._readers.clear()
                self._signals.append((now + _AGAIN, self._number))
                self.kills += 1
            else:
                self._tell_all(now, pid if passes_on else None)
        if self._readers:
            self._tell_readers(now)

    def _tell_all(self, now: float, first_of_box: int | None) -> None:
        """Tell everybody but those who read what somebody else writes: they are needed to pass on what is said now."""
        everybody = list(tree.descendants())  # parents first, so that a shell does not start its next command
        # Where /proc hides what may not be looked into, nobody but the box's first process sees who is in it.
        if first_of_box in everybody and tree.children(first_of_box):
            everybody.remove(first_of_box)
        readers = tree.readers(everybody)
        first = [pid for pid in everybody if pid not in readers] or everybody
        self._patience = (now + self._signals[0][0]) / 2
        self._readers = dict.fromkeys(readers.difference(first), self._patience)
        for pid in first:
            self._tell(pid)

    def _tell_readers(self, now: float) -> None:
        """Tell them when nobody has written to them for a while, or half of the time is over."""
        everybody = list(tree.descendants())
        waiting = tree.readers(everybody)
        for pid in list(self._readers):
            if pid not in everybody:
                del self._readers[pid]
            elif pid not in waiting and self._readers[pid] == self._patience:
                self._readers[pid] = min(now + _END_OF_PIPE, self._patience)
            elif now >= self._readers[pid]:
                del self._readers[pid]
                self._tell(pid)

    def _tell(self, pid: int) -> None:
        tree.send(pid, self._number)
        tree.send(pid, signal.SIGCONT)  # one that is stopped hears it only now


def end_tree(uid: int | None, statuses: dict[int, int]) -> bool:
    """End all that is left of a run, see `tree.end_tree`; a user id that was lent to it is ended by a fork.

    None is made beside a thread: what can be listed is killed first, and a scanner that is being compiled waited for.
    """
    if uid is not None and (compiling := scanner.compiling()):
        tree.end_tree(patience=_LISTED, statuses=statuses)
        for thread in compiling:
            thread.join()
    return tree.end_tree(uid=uid, statuses=statuses)


def signal_group(pid: int, number: int) -> None:
    """Signal a process group in one call, which no fork can outrun."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
