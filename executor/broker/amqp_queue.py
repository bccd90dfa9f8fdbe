"""RabbitMQ as kombu reads it, without what ends a worker: what its client raises for costs the message alone."""

from collections.abc import Callable
from typing import Any

import amqp
from amqp import method_framing
from kombu.transport import pyamqp as theirs

from executor.broker.hearing import Watch, unforeseen

_HEADER = 2
"""The type of the frame that says how long a message is and what properties it has."""
_NO_PROPERTIES = b"\0\0"


def watched(transport: Any, watch: Watch) -> Any:
    """The same transport, or one derived from it, with channels that no message can end."""
    channel = type("Channel", (Channel, transport.Connection.Channel), {"watch": watch})
    connection = type("Connection", (Connection, transport.Connection), {"Channel": channel})
    return type(transport.__name__, (transport,), {"Connection": connection})


class Channel(theirs.Channel):
    """A channel that rejects what cannot be delivered."""

    watch: Watch
    delivering: str | None = None
    """The queue that the message now delivered lay in, whatever the message says."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._queues: dict[str, str] = {}
        super().__init__(*args, **kwargs)

    def basic_consume(self, queue: str = "", consumer_tag: str = "", *args: Any, **kwargs: Any) -> Any:
        """Remember which queue it is: a message tells its consumer's tag, and a routing key that anybody may choose."""
        self._queues[consumer_tag] = queue
        return super().basic_consume(queue, consumer_tag, *args, **kwargs)

    def _on_basic_deliver(
        self, consumer_tag: str, delivery_tag: int, redelivered: bool, exchange: str, routing_key: str, msg: Any
    ) -> None:
        self.delivering = self._queues.get(consumer_tag)
        try:
            packed = (msg.properties.get("application_headers") or {}).get("compression")
            if not (packed and self.watch.is_ours(self.delivering)):
                super()._on_basic_deliver(consumer_tag, delivery_tag, redelivered, exchange, routing_key, msg)
                return
            why = "it is to be delayed, limited or unpacked"  # kombu would, before anybody is asked
        except (amqp.AMQPError, *amqp.Connection.connection_errors):
            raise
        except Exception as error:  # noqa: BLE001  # a message is at fault, and no reason to end
            why = unforeseen(error)
        self.watch.drop(self.delivering, why, len(msg.body))
        if consumer_tag not in (self.no_ack_consumers or ()):
            self.basic_reject(delivery_tag, requeue=False)


class Connection(theirs.Connection):
    """A connection that takes properties which cannot be read for none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "frame_handler": _frames})


def _frames(connection: Any, callback: Callable[..., Any]) -> Callable[[Any], Any]:
    """What the client has for each frame that comes in, given headers that it can read."""
    on_frame = method_framing.frame_handler(connection, callback)

    def on_readable_frame(frame: tuple[int, int, Any]) -> Any:
        kind, channel, content = frame
        if kind == _HEADER and not _readable(content):
            frame = (kind, channel, bytes(content[:12]) + _NO_PROPERTIES)
        return on_frame(frame)

    return on_readable_frame


def _readable(content: Any) -> bool:
    try:
        amqp.basic_message.Message().inbound_header(content)
    except Exception:  # noqa: BLE001  # times beyond all calendars, tables within tables, text that is none, …
        return False
    return True
