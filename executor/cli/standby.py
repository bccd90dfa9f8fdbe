"""With nothing configured and no worker alive, `sealrun run` starts one, which ends when it has been idle for a while.

The worker holds a lock that the kernel drops with it, so that of several submitters one starts it, and a submitter
knows of a worker that has not shown itself yet. Before it ends it lets go of the lock and then looks once more for a
run: a run accepted before that is seen by it, one accepted after finds the lock free and starts the next worker.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from executor.cli.errors import StandbyFailed
from executor.settings import Settings

IDLE = 30  # seconds
_LOG_LIMIT = 1 << 20
_RESTARTS = 3
_CODE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from executor.cli.main import main; main()"
# A worker has no use for the rest of a user's environment, in which a password may stand.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "XDG_DATA_HOME", "PYTHONPATH")


class Standby:
    """The worker that stands by for this home folder, as one submitter knows it."""

    def __init__(self, settings: Settings) -> None:
        self._home = settings.store.home
        self._process: subprocess.Popen[bytes] | None = None
        self._log_began = 0
        self._started = 0

    @property
    def log(self) -> Path:
        """Where its words go."""
        return self._home / "worker.log"

    def ensure(self) -> bool:
        """Start one unless there is one; whether one was started just now.

        Raises:
            StandbyFailed: the one that was started ended with an error.
        """
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return False
            self._process = None
            if status > 0 or self._started > _RESTARTS:
                raise StandbyFailed(status=status, said=self._said(), log=self.log)
        with open(self._home / "worker.lock", "wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._shorten_log()
            with open(self.log, "ab", opener=_for_owner) as log:
                self._log_began = log.tell()
                self._process = _start(self._home, lock.fileno(), log)
        self._started += 1
        return True

    def _shorten_log(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > _LOG_LIMIT:
                self.log.unlink()

    def _said(self) -> str:
        with open(self.log, "rb") as log:
            log.seek(self._log_began)
            lines = log.read(65536).decode(errors="replace").splitlines()
        sentences = [line.removeprefix("sealrun: ") for line in lines if line.startswith("sealrun: ")]
        return f": {sentences[-1]}" if sentences else ""


def worker_command(*options: str) -> list[str]:
    """`sealrun worker`, of this very installation whatever the current folder holds."""
    root = str(Path(__file__).resolve().parent.parent.parent)
    return [sys.executable, "-P", "-c", _CODE, root, "worker", *options]


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a worker is given of its starter's environment."""
    return {name: value for name, value in environ.items() if name in _PASSED_ON or name.startswith("SEALRUN_")}


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _start(home: Path, lock: int, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        worker_command("--idle-exit", str(IDLE), "--standby-lock", str(lock)),
        cwd=home,
        env=worker_environment(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=[lock],
        start_new_session=True,  # neither Ctrl-C nor the end of the terminal reaches it
    )
