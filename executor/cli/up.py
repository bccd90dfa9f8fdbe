"""`sealrun up`: the embedded broker, a worker and the server as processes of their own, under one command."""

import contextlib
import os
import platform
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from socket import socket
from typing import Annotated

import typer

from executor.broker.embedded import broker
from executor.cli import entrance
from executor.cli.here import operators_only
from executor.cli.serve import require_installed
from executor.cli.shown import screen
from executor.errors import AddressTaken, WorkerUnsupported
from executor.operations.deployment import Deployment
from executor.server_settings import ServerSettings, read_server_settings
from executor.settings import Settings
from executor.submission.standby import own_command, own_environment, worker_command, worker_environment
from secretstore.audit import Actor
from secretstore.errors import LibraryMissing

app = typer.Typer(help="Start an embedded broker, a worker and the server, until Ctrl-C.", add_completion=False)

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Process = subprocess.Popen[bytes]


@app.command()
def up(
    concurrency: Annotated[
        int | None, typer.Option("-c", "--concurrency", metavar="N", min=1, help="Runs at a time (else one per CPU).")
    ] = None,
    server: Annotated[bool, typer.Option("--server/--no-server", help="Serve the HTTP API, too.")] = True,
) -> None:
    """Start what runs need on this machine, in processes of their own, and end them with Ctrl-C."""
    if platform.system() != "Linux":
        raise WorkerUnsupported(system=platform.system())
    settings = operators_only("up")
    serving = read_server_settings(os.environ) if server else None
    options = ["-c", str(concurrency)] if concurrency else []
    with contextlib.ExitStack() as ending:
        at = Deployment.open(settings)  # made here if it is the embedded one, so that its faults are told here
        ending.callback(at.close)
        ending.enter_context(_broker(settings))
        taken = _taken(serving) if serving is not None else None
        answering = _server(taken) if taken is not None else None
        worker = _start(worker_command(*options), worker_environment(os.environ))

        def begun() -> None:
            _tell(settings, worker.pid)
            if serving is not None and answering is not None:
                _show_entrance(ending, at, serving)

        status = _ended(worker, answering, begun)
    raise typer.Exit(status)


@contextlib.contextmanager
def _broker(settings: Settings) -> Iterator[None]:
    if settings.broker_url is not None:
        yield
        return
    with broker(settings.store.home):
        yield


def _start(command: Sequence[str], environ: dict[str, str], *kept: int) -> Process:
    return subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        pass_fds=kept,
        start_new_session=True,  # Ctrl-C comes here alone, and is passed on
    )


def _taken(serving: ServerSettings) -> socket | None:
    """The server's address, taken; None where there can be no server, which is said: runs need none."""
    try:
        require_installed()
        return entrance.listen(serving)
    except (LibraryMissing, AddressTaken) as problem:
        screen.say(f"sealrun up: without the HTTP API: {problem}; {problem.hint}", "yellow")
        return None


def _server(taken: socket) -> Process:
    with taken:
        command = own_command("serve", "--listen-fd", str(taken.fileno()))
        return _start(command, own_environment(os.environ), taken.fileno())


def _show_entrance(ending: contextlib.ExitStack, at: Deployment, serving: ServerSettings) -> None:
    who = Actor(at.settings.store.actor, "cli")
    page = ending.enter_context(entrance.first_admin(at, who, serving, at.settings.store.home))
    if page is not None:
        entrance.show(page)


def _tell(settings: Settings, pid: int) -> None:
    if settings.broker_url is None:
        screen.say(f"sealrun up: embedded broker in {settings.store.home / 'broker'}")
    else:
        screen.say("sealrun up: SEALRUN_BROKER_URL is set, so no broker is started")
    if settings.store.database_is_default:
        screen.say(f"sealrun up: database in {settings.store.home}")
    else:
        screen.say("sealrun up: SEALRUN_DATABASE_URL is set, so the database is the one it names")
    screen.say(f"sealrun up: worker is process {pid}; Ctrl-C ends it when its runs are over, twice ends them too")


def _ended(worker: Process, server: Process | None, begun: Callable[[], None]) -> int:
    """Wait for the worker; the first signal lets its runs end, the second ends them. Who is told can send one.

    The server ends after it: who follows a run over it sees that run's end.
    """
    asked = 0

    def pass_on(*_: object) -> None:
        nonlocal asked
        asked += 1
        worker.send_signal(signal.SIGTERM if asked == 1 else signal.SIGQUIT)

    before = {number: signal.signal(number, pass_on) for number in _ENDS}
    try:
        begun()
        _look_after(server, worker)
        status = worker.wait()
    finally:
        if server is not None:
            server.terminate()
            server.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if asked else max(status, 0) or int(status != 0)


def _look_after(server: Process | None, worker: Process) -> None:
    """Say so if the server ends before the worker does. Runs go on without it."""
    if server is None:
        return

    def look() -> None:
        status = server.wait()
        if worker.poll() is None:
            screen.say(f"sealrun up: the server has ended with status {status}; runs go on without it", "yellow")

    threading.Thread(target=look, daemon=True).start()
