"""`sealrun worker`: execute runs on this machine, or say whether the worker of this machine does."""

import logging
import platform
import re
from typing import Annotated

import typer

from executor.cli.shown import screen
from executor.cli.typed import times
from executor.errors import WorkerUnsupported
from executor.settings import QUEUE, read_here
from secretstore.naming import check_queue_name

app = typer.Typer(help="Execute runs on this machine until stopped.", add_completion=False)

_NAME = re.compile(r"(?=.{1,200}\Z)[\w.%-]+(@[\w.%-]+)?", re.ASCII)
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@app.command()
def worker(
    concurrency: Annotated[
        int | None, typer.Option("-c", "--concurrency", metavar="N", min=1, help="Runs at a time (else one per CPU).")
    ] = None,
    queue: Annotated[str, typer.Option("-Q", "--queue", metavar="QUEUE", help="Queues, parted by commas.")] = QUEUE,
    name: Annotated[str | None, typer.Option("-n", "--hostname", metavar="NAME", help="The worker's name.")] = None,
    level: Annotated[
        str, typer.Option("-l", "--loglevel", metavar="LEVEL", help="debug, info, warning or error.")
    ] = "info",
    check: Annotated[
        bool, typer.Option("--check", help="Start none: end with 0 if the one here takes runs, else say why not.")
    ] = False,
    live: Annotated[bool, typer.Option("--live", help="With --check: it is enough that its process lives.")] = False,
    idle_exit: Annotated[float | None, typer.Option("--idle-exit", parser=times.length, hidden=True)] = None,
    standby_lock: Annotated[int | None, typer.Option("--standby-lock", hidden=True)] = None,
) -> None:
    """Execute runs on this machine. Ctrl-C lets those that run end; a second one ends them."""
    if platform.system() != "Linux":
        raise WorkerUnsupported(system=platform.system())
    if live and not check:
        raise typer.BadParameter("it goes with --check", param_hint="--live")
    if check:
        from executor.worker.checking import check as checked

        screen.show(screen.printable(checked(read_here().workspaces, name, live)))
        return
    if level.upper() not in _LEVELS:
        raise typer.BadParameter("one of debug, info, warning, error", param_hint="-l")
    queues = [one.strip() for one in queue.split(",")]
    for one in queues:
        check_queue_name(one)
    if name is not None and not _NAME.fullmatch(name):
        why = "a worker's name has at most 200 letters, digits, ., -, _ and %, and one @ at most, as in mill@%h"
        raise typer.BadParameter(why, param_hint="-n")
    if standby_lock is None:
        from executor.cli.here import operators_only  # not for a check, which imports little

        operators_only("worker")
    from executor.cli.worker_program import serve  # Celery, which a check every few seconds need not import

    raise typer.Exit(
        serve(
            concurrency=concurrency,
            queue=",".join(dict.fromkeys(queues)),
            name=name,
            level=getattr(logging, level.upper()),
            idle_exit=idle_exit,
            standby_lock=standby_lock,
        )
    )
