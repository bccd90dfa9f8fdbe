"""The Celery application: a doorbell and nothing else.

`celery -A executor.celery_app worker` starts the same worker as `sealrun worker`. What Celery offers beyond ringing is
turned off: results, events, remote control (anyone on the broker could stop workers), its built-in tasks.
"""

import contextlib
import functools
import os
import signal
import socket
import threading
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

from celery import Celery, bootsteps, signals
from celery.concurrency import get_implementation
from celery.exceptions import SecurityWarning
from celery.utils.imports import symbol_by_name

from executor.broker import application
from executor.broker.doorbell import TASK, register
from executor.broker.listening import Listening, listening
from executor.errors import WorkerUnsupported
from executor.settings import QUEUE, Settings, read_here

_TURN = 2.0  # seconds between two turns that are told


class Consumer(Listening):
    """Celery's consumer without what speaks to other workers, however the worker was started."""

    def __init__(self, *args: Any, worker_options: dict[str, Any] | None = None, **kwargs: Any) -> None:
        quiet = {"without_mingle": True, "without_gossip": True, "without_heartbeat": True}
        super().__init__(*args, worker_options={**(worker_options or {}), **quiet}, **kwargs)

    def register_with_event_loop(self, hub: Any) -> None:
        """Celery calls it each time it has connected to the broker."""
        super().register_with_event_loop(hub)
        wake_on_signals(hub)


def wake_on_signals(hub: Any) -> None:
    """Let a signal end a wait of Celery's event loop, so that a worker ends as soon as it is told.

    Python goes on with a wait that a signal interrupts, and this one lasts up to 10 seconds while the broker is silent.
    """
    reader = _signalled()
    if reader is not None:
        hub.add_reader(reader, reader.recv, 4096)


@functools.cache
def _signalled() -> socket.socket | None:
    """What can be read from whenever this process has been sent a signal; None where signals are somebody else's."""
    if threading.current_thread() is not threading.main_thread():
        return None
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    theirs = signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    if theirs != -1:
        signal.set_wakeup_fd(theirs)
        return None
    return reader


def make_app(settings: Settings) -> Celery:
    """The application of a sealrun worker: what rings it, and the task that answers."""
    app = application.make_app(settings)
    install(app, settings)
    return app


def install(app: Celery, settings: Settings | None = None) -> Celery:
    """Add sealrun to an application a team already has: the task, its queue, and the worker's zygote.

    Its other tasks, queues and settings stay as they are. Workers for the queue `sealrun` use the threads pool:
    `celery -A yours worker -P threads -Q sealrun`. Warns of settings by which whoever reaches the broker has a say in
    such a worker.
    """
    found = settings or read_here()
    told = _warn_of_open_doors(app, set())
    register(app)
    routes = app.conf.task_routes
    theirs = routes if isinstance(routes, list | tuple) else [] if routes is None else [routes]
    # The first: a route of theirs may be for every task.
    app.conf.task_routes = [{TASK: {"queue": QUEUE}}, *theirs]
    _serve(app, found, told)
    return app


def _serve(app: Celery, settings: Settings, told: set[str]) -> None:
    """Start and end our part of a worker of this application, and of no other in the same process.

    `told` are the warnings of its settings that have been given.
    """

    def on_init(sender: Any, **_: Any) -> None:
        if sender.app is not app or not _serves_us(sender):
            return
        with _fatal():
            from executor.worker.life import WorkerLife

            _warn_of_open_doors(app, told)  # its settings may have come after `install`
            pool = getattr(sender.pool_cls, "__module__", str(sender.pool_cls))
            if "thread" not in pool:
                refusal = WorkerUnsupported(
                    "sealrun's task needs Celery's threads pool, and this worker was started with {pool}",
                    pool=pool,
                    hint="start a worker for it of its own: celery -A … worker -P threads -Q sealrun",
                )
                raise SystemExit(f"sealrun: {refusal}\nhint: {refusal.hint}")
            sender.consumer_cls = listening(symbol_by_name(sender.consumer_cls), [QUEUE])
            app.sealrun_life = WorkerLife(app, settings, sender)
            sender.pool_cls = _ending_runs(sender.pool_cls, app.sealrun_life)
            app.sealrun_life.prepare()

    def on_ready(sender: Any, **_: Any) -> None:
        if sender.app is app and (life := getattr(app, "sealrun_life", None)):
            with _fatal():
                life.begin()

    def on_shutdown(sender: Any, **_: Any) -> None:
        if sender.app is app and (life := getattr(app, "sealrun_life", None)):
            life.end()

    def on_signal(sender: Any, **_: Any) -> None:
        if (life := getattr(app, "sealrun_life", None)) and sender == life.name:
            life.told_to_stop()

    app.steps["consumer"].add(Turning)
    signals.worker_shutting_down.connect(on_signal, weak=False)
    signals.worker_init.connect(on_init, weak=False)
    signals.worker_ready.connect(on_ready, weak=False)
    signals.worker_shutdown.connect(on_shutdown, weak=False)


def _warn_of_open_doors(app: Celery, told: set[str]) -> set[str]:
    """Warn, once, of what in a team's settings gives those who reach the broker more than a bell; returns what is."""
    found = set(_open_doors(app))
    for one in sorted(found - told):
        warnings.warn(f"sealrun: {one}", SecurityWarning, stacklevel=3)
    return found


def _open_doors(app: Celery) -> Iterator[str]:
    """Yield each such setting, why it matters, and what to set instead."""
    for name in ("accept_content", "result_accept_content"):
        if set(app.conf[name] or ()) & _PICKLE:
            yield (
                f"{name} has pickle, and a pickled message can execute any code in the worker, which may open secrets. "
                f"Take it out: app.conf.{name} = ['json']"
            )
    for name in ("task_serializer", "result_serializer", "event_serializer"):
        if app.conf[name] in _PICKLE:
            yield (
                f"{name} is pickle, which whoever reads it has to accept, and a pickled message can execute any code "
                f"there. Set app.conf.{name} = 'json'"
            )
    if app.conf.worker_enable_remote_control:
        yield (
            "worker_enable_remote_control is on, so whoever reaches the broker can stop a worker that executes runs, "
            "or have it take other queues. Set app.conf.worker_enable_remote_control = False"
        )


_PICKLE = {"pickle", "application/x-python-serialize"}


class Turning(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery ships no types
    """Tells a worker that Celery's loop turns."""

    def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
        """Celery calls it each time it has connected to the broker, and forgets it when the connection is lost."""
        if (life := getattr(consumer.app, "sealrun_life", None)) is not None:
            life.turn()
            hub.call_repeatedly(_TURN, life.turn)


def _ending_runs(pool: Any, life: Any) -> Any:
    """The threads pool, which can end what it executes: our runs. Celery asks for that at a second signal."""

    whole: Any = get_implementation(pool)  # it may be a name

    class TaskPool(whole):  # type: ignore[misc]  # Celery ships no types
        def terminate_job(self, pid: Any, signal: Any = None) -> None:
            life.end_runs()

    TaskPool.__module__ = whole.__module__
    return TaskPool


@contextlib.contextmanager
def _fatal() -> Iterator[None]:
    """Celery logs what a signal's handler raises and goes on: a worker that can do nothing would seem alive."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # the worker ends with it
        # A driver's words may quote the address it was given, and its password; the kind and the place do not.
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(place.filename)}, line {place.lineno}"
        raise SystemExit(f"sealrun: the worker did not start: {type(error).__name__} in {where}") from None


def _serves_us(worker: Any) -> bool:
    """Whether a worker consumes our queue; a worker for a team's other queues stays what it was."""
    chosen = worker.app.amqp.queues.consume_from
    return QUEUE in chosen or worker.app.conf.worker_consumer == "executor.celery_app:Consumer"


def __getattr__(name: str) -> Celery:
    """`app`, made when Celery asks for it: importing this module reads no settings."""
    if name in ("app", "celery"):
        app = make_app(read_here())
        globals().update(app=app, celery=app)
        return app
    raise AttributeError(name)
