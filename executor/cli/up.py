"""`sealrun up`: the embedded broker and a worker as processes of their own, under one command."""

import contextlib
import os
import platform
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from executor.broker.embedded import broker
from executor.cli.here import operators_only
from executor.cli.shown import screen
from executor.database import open_database
from executor.errors import WorkerUnsupported
from executor.settings import Settings
from executor.submission.standby import worker_command, worker_environment

app = typer.Typer(help="Start an embedded broker and a worker, until Ctrl-C.", add_completion=False)

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@app.command()
def up(
    concurrency: Annotated[
        int | None, typer.Option("-c", "--concurrency", metavar="N", min=1, help="Runs at a time (else one per CPU).")
    ] = None,
) -> None:
    """Start what runs need on this machine, in processes of their own, and end them with Ctrl-C."""
    if platform.system() != "Linux":
        raise WorkerUnsupported(system=platform.system())
    settings = operators_only("up")
    open_database(settings).close()  # made here if it is the embedded one, so that its faults are told here
    options = ["-c", str(concurrency)] if concurrency else []
    with _broker(settings):
        worker = subprocess.Popen(
            worker_command(*options),
            env=worker_environment(os.environ),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C comes here alone, and is passed on once
        )
        status = _ended(worker, lambda: _tell(settings, worker.pid))
    raise typer.Exit(status)


@contextlib.contextmanager
def _broker(settings: Settings) -> Iterator[None]:
    if settings.broker_url is not None:
        yield
        return
    with broker(settings.store.home):
        yield


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


def _ended(worker: "subprocess.Popen[bytes]", begun: Callable[[], None]) -> int:
    """Wait for the worker; the first signal lets its runs end, the second ends them. Who is told can send one."""
    asked = 0

    def pass_on(*_: object) -> None:
        nonlocal asked
        asked += 1
        worker.send_signal(signal.SIGTERM if asked == 1 else signal.SIGQUIT)

    before = {number: signal.signal(number, pass_on) for number in _ENDS}
    try:
        begun()
        status = worker.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if asked else max(status, 0) or int(status != 0)
