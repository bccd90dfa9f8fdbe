"""The Celery application: a doorbell and nothing else.

What Celery offers beyond ringing is turned off: results, events, remote control (anyone on the broker could stop
workers), its built-in tasks.
"""

from typing import Any

from celery import Celery
from kombu.entity import Queue

from executor.broker.embedded import broker_address
from executor.settings import QUEUE, Settings


def make_app(settings: Settings) -> Celery:
    """Make a Celery application that can ring; its workers know only the tasks that `register` adds."""
    app = Celery("sealrun", set_as_current=False)
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
        worker_prefetch_multiplier=1,
        worker_consumer="executor.celery_app:Consumer",
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    app.on_after_finalize.connect(_without_builtins, sender=app, weak=False)
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


def _without_builtins(sender: Celery, **_: Any) -> None:
    for name in [name for name in sender.tasks if name.startswith("celery.")]:
        sender.tasks.unregister(name)
