"""Celery's consumer, which no message ends: what is no bell is dropped before Celery takes it apart."""

import functools
import itertools
import logging
import time
from collections.abc import Callable, Collection
from typing import Any

from celery.worker import consumer, loops, state

from executor.broker.doorbell import TASK
from executor.broker.hearing import Watch, fault_of, reduce_to_bell, unforeseen
from executor.broker.refusing import refusal

logger = logging.getLogger("sealrun")

_LONGEST_PAUSE = 30  # seconds before a broker that refuses is asked again


class Listening(consumer.Consumer):  # type: ignore[misc]  # Celery ships no types
    """A consumer of bells; in the worker of a team's application, of their messages too, as Celery has them."""

    ours: Collection[str] | None = None
    """Queues with bells alone; None for all that it consumes."""

    connection_errors: tuple[type[Exception], ...]

    def __init__(self, *args: Any, app: Any = None, **kwargs: Any) -> None:
        self._watch = Watch(app.amqp.queues.consume_from, self.ours)
        self._watched = functools.cache(functools.partial(_watched, self._watch))
        super().__init__(*args, app=app, **kwargs)
        self._of_the_broker = (*self.connection_errors, *self.channel_errors)

    def on_ready(self) -> None:
        """Celery calls it each time it is about to take messages. A first start that is refused ends a worker."""
        super().on_ready()
        self.connection_errors = self._of_the_broker

    def loop(self, *args: Any) -> None:
        """Celery calls it to take messages. A broker that refuses something meanwhile is connected to anew."""
        try:
            (loops.asynloop if self.hub else loops.synloop)(*args)
        except self.channel_errors as error:
            code = str(error).partition(" ")[0]  # of Redis, as in MISCONF; what follows may quote what was sent
            why = f"{type(error).__name__} {code}" if code.isalpha() and code.isupper() else type(error).__name__
            raise ConnectionError(f"the broker refused something: {why}") from error

    def connection_for_read(self, heartbeat: float | None = None) -> Any:
        """Celery calls it for each connection that messages come by."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        plain = connection.get_transport_cls
        connection.get_transport_cls = lambda: self._watched(plain())  # asked again for each of several brokers
        return self._connected(connection)

    def _connected(self, connection: Any) -> Any:
        """Celery waits longer and longer for a broker that does not answer; here for one, too, that refuses."""
        for pause in itertools.chain(range(2, _LONGEST_PAUSE, 2), itertools.repeat(_LONGEST_PAUSE)):
            try:
                return self.ensure_connected(connection)
            except self._of_the_broker as error:
                why = refusal(error)
                if why is None or not self.app.conf[self._get_connection_retry_type(self.first_connection_attempt)]:
                    raise
                logger.error("the broker %s %s; asked again in %d seconds", connection.as_uri(), why, pause)
            for _ in range(pause):
                state.maybe_shutdown()
                time.sleep(1)
        raise AssertionError

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Celery calls it each time it has connected, for what takes a message."""
        handle = super().create_task_handler(*args, **kwargs)
        return lambda message: self._hear(message, handle)

    def _hear(self, message: Any, handle: Callable[[Any], None]) -> None:
        queue = getattr(message.channel, "delivering", None)
        try:
            if not (self._watch.is_ours(queue) or message.headers.get("task") == TASK):
                return handle(message)
            why = fault_of(message)
            if why is None:
                reduce_to_bell(message)
                return handle(message)
        except Exception as error:
            if isinstance(error, self._of_the_broker) and not isinstance(error, KeyError):
                raise
            why = unforeseen(error)
        self._watch.drop(queue, why, len(message.body or b""))
        if not message.acknowledged:
            message.reject_log_error(logger, self._of_the_broker)


def listening(kind: type, ours: Collection[str]) -> type:
    """A team's consumer that listens as ours does."""
    return kind if issubclass(kind, Listening) else type(kind.__name__, (Listening, kind), {"ours": ours})


def _watched(watch: Watch, transport: Any) -> Any:
    """A transport in the form that no message ends, where it is Redis or RabbitMQ."""
    module = {one.__module__ for one in transport.__mro__}
    if "kombu.transport.redis" in module:
        from executor.broker import redis_queue

        return redis_queue.watched(transport, watch)
    if "kombu.transport.pyamqp" in module:
        from executor.broker import amqp_queue

        return amqp_queue.watched(transport, watch)
    return transport
