"""The Celery application: a doorbell and nothing else.

What Celery offers beyond ringing is turned off: results, events, remote control (anyone on the broker could stop
workers), its built-in tasks.
"""

from typing import Any

from celery import Celery
from kombu.entity import Queue

from executor.broker.embedded import broker_address
from executor.settings import QUEUE, Settings
from secretstore.errors import SettingsProblem


class Bells(Celery):  # type: ignore[misc]  # Celery ships no types
    """An application whose connections to Redis keep their client, see `redis_queue`."""

    def connection_for_write(self, *args: Any, **kwargs: Any) -> Any:
        """A connection to send messages by."""
        connection = super().connection_for_write(*args, **kwargs)
        if connection.transport_cls == "redis":
            connection.transport_cls = _RINGING  # by its name: a copy of the connection looks for it there
        return connection


_RINGING = "executor.broker.redis_queue:Ringing"


def make_app(settings: Settings) -> Celery:
    """Make a Celery application that can ring; its workers know only the tasks that `register` adds.

    Raises:
        SettingsProblem: the broker's URL is not one to kombu.
    """
    app = Bells("sealrun", set_as_current=False)
    app.conf.update(
        broker_url=settings.broker_url or broker_address(settings.store.home),
        broker_connection_retry_on_startup=True,
        broker_transport_options=transport_options(),
        broker_heartbeat=30,
        task_default_queue=QUEUE,
        task_queues=[Queue(QUEUE)],  # type: ignore[no-untyped-call]  # kombu ships no types
        task_create_missing_queues=True,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=False,  # the database row is the truth; a lost message costs a moment
        task_send_sent_event=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_pool="threads",
        # A slot that has a run holds no second bell back from a free one; to fetch more at a time saves 0.05 ms a bell.
        worker_prefetch_multiplier=1,
        worker_disable_rate_limits=True,  # there are none, and to ask for them takes a tenth of the worker's share
        worker_consumer="executor.celery_app:Consumer",
        # Of tasks that are acknowledged late, and ours is not: without it Celery warns of its next version's way.
        worker_cancel_long_running_tasks_on_connection_loss=True,
    )
    app.on_after_finalize.connect(_without_builtins, sender=app, weak=False)
    _check_address(app)
    return app


def transport_options() -> dict[str, Any]:
    """Redis: notice a dead connection, redeliver unacknowledged bells soon. RabbitMQ: wait for the confirm."""
    return {
        "socket_timeout": 15,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "unacked_restore_interval": 2,
        "unacked_restore_throttle": 1,
        "confirm_publish": True,
        "max_retries": 2,
        "interval_start": 0,
        "interval_step": 0.1,
    }


def _check_address(app: Celery) -> None:
    """Now, and not when a run is accepted that is to be rung for; nothing is connected to."""
    try:
        app.connection_for_write()
    except Exception as error:  # noqa: BLE001  # kombu raises whatever a URL of an odd form leads it to
        why = f"SEALRUN_BROKER_URL cannot be read: {type(error).__name__}. Write it as"
        problem = f"{why} redis://user:password@host:6379/0, with nothing secret behind a ?"
        raise SettingsProblem([problem]) from None


def _without_builtins(sender: Celery, **_: Any) -> None:
    for name in [name for name in sender.tasks if name.startswith("celery.")]:
        sender.tasks.unregister(name)
