"""Redis as kombu reads it, without what ends a worker: what lies in its lists is taken apart before kombu does.

kombu has no hook there: it takes an item out of the list and raises while it makes a message of it.
"""

import functools
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from queue import Empty
from typing import Any, TypeVar

from kombu.transport import redis as theirs
from kombu.utils.encoding import bytes_to_str
from redis.exceptions import ResponseError

from executor.broker.hearing import LONGEST, Watch, unforeseen

logger = logging.getLogger("sealrun")

T = TypeVar("T")


def watched(transport: Any, watch: Watch) -> Any:
    """The same transport, or one derived from it, with channels that no message can end."""
    made = {"watch": watch, "QoS": type("QoS", (QoS, transport.Channel.QoS), {})}
    channel = type("Channel", (Channel, transport.Channel), made)
    return type(transport.__name__, (transport,), {"Channel": channel})


def fault_of_item(item: bytes) -> str | None:
    """Why what lay in a list of Redis is no message of kombu's that may be a bell; None for one."""
    if len(item) > LONGEST:
        return "it is too long"
    try:
        whole = json.loads(item.decode())
    except (ValueError, RecursionError):
        return "it is no JSON"
    return _fault_of_envelope(whole)


def _fault_of_envelope(whole: Any) -> str | None:
    if not isinstance(whole, dict) or not isinstance(whole.get("properties"), dict):
        return "it is no message of kombu's"
    properties = whole["properties"]
    info, tag = properties.get("delivery_info"), properties.get("delivery_tag")
    if not (isinstance(tag, str) and 0 < len(tag) <= 255 and isinstance(info, dict)):
        return "it does not say how it was delivered"
    if not all(isinstance(info.get(name), str) for name in ("exchange", "routing_key")):
        return "it does not say how it was delivered"
    if not isinstance(whole.get("headers"), dict) or whole["headers"].get("compression"):
        return "its headers are not those of a bell"
    if properties.get("body_encoding") not in ("base64", "utf-8", None) or not isinstance(whole.get("body"), str):
        return "its body cannot be decoded"
    return None


class QoS(theirs.QoS):
    """What was delivered and not acknowledged yet, in a hash and an index of Redis."""

    channel: "Channel"

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Enter a message that is being delivered."""
        self.channel.mended(lambda: super(QoS, self).append(message, delivery_tag))

    def ack(self, delivery_tag: Any) -> None:
        """Take out one that was."""
        self.channel.mended(lambda: super(QoS, self).ack(delivery_tag))

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        """Take out one that was, or give it back."""
        self.channel.mended(lambda: super(QoS, self).reject(delivery_tag, requeue=requeue))

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Give back what a worker took and never acknowledged."""
        self.channel.mended(lambda: super(QoS, self).restore_visible(*args, **kwargs))

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Give one back; what cannot be is dropped, or it would be met again every two seconds."""
        try:
            super().restore_by_tag(tag, client=client, leftmost=leftmost)
        except Exception as error:
            if self.channel.is_of_the_broker(error) and not self.channel.is_over_a_type(error):
                raise
            self._remove_from_indices(tag).execute()
            self.channel.watch.drop(self.unacked_key, unforeseen(error), None)


class Keeping(theirs.Channel):
    """A channel with one client for its commands: kombu makes a new one for each, which takes longer than the command.

    All that a client has is the pool of connections, from which it takes one for each command.
    """

    _client_kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous)
        if self._client_kept is None or self._client_kept.connection_pool is not self.pool:
            self._client_kept = super()._create_client()
        return self._client_kept


class Ringing(theirs.Transport):
    """What bells are sent by."""

    Channel = Keeping


class Channel(Keeping):
    """A channel that takes out of Redis whatever is there, and delivers messages."""

    watch: Watch
    delivering: str | None = None
    """The queue that the message now delivered lay in, whatever the message says."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._size_read: int | None = None
        self._bound: set[str] = set()
        super().__init__(*args, **kwargs)
        self._move_aside()  # before anything is given back to a queue

    def is_of_the_broker(self, error: Exception) -> bool:
        """Whether the connection or the server is at fault, not what is read; to kombu a KeyError is that, too."""
        return isinstance(error, (ResponseError, *self.connection_errors)) and not isinstance(error, KeyError)

    def is_over_a_type(self, error: Exception) -> bool:
        """Whether Redis refused something over a key of another type, which is moved aside if kombu needs its name."""
        return isinstance(error, ResponseError) and (self._move_aside() or "WRONGTYPE" in str(error))

    def mended(self, act: Callable[[], T]) -> T:
        """Do something; where Redis refuses it over a key of a wrong type, that is moved aside and it is done again."""
        try:
            return act()
        except ResponseError:
            if not self._move_aside():
                raise
            return act()

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:  # the one that messages come by
            client = super()._create_client(asynchronous)
            client.parse_response = functools.partial(self._answered, client.parse_response)
            return client
        return super()._create_client()

    def _answered(self, parse: Callable[..., Any], connection: Any, command: str, **options: Any) -> Any:
        answer = parse(connection, command, **options)
        if command == "BRPOP" and answer:
            key, item = answer
            self.delivering, self._size_read = bytes_to_str(key).rsplit(self.sep, 1)[0], len(item)
            if self.watch.is_ours(self.delivering) and (why := fault_of_item(item)):
                self.watch.drop(self.delivering, why, len(item))
                raise Empty
        return answer

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except Empty:
            raise
        except Exception as error:
            if self.is_of_the_broker(error):
                if not (isinstance(error, ResponseError) and self._move_aside()):
                    raise
            else:
                self.watch.drop(self.delivering, unforeseen(error), self._size_read)
            raise Empty from None

    def _receive_one(self, c: Any) -> Any:
        """A broadcast, where an application has them: events and remote control."""
        try:
            return super()._receive_one(c)
        except Empty:
            raise
        except Exception as error:
            if self.is_of_the_broker(error):
                raise
            self.watch.drop("a broadcast", unforeseen(error), None)
            return None

    def _do_restore_message(
        self, payload: Any, exchange: Any, routing_key: Any, pipe: Any, leftmost: bool = False
    ) -> None:
        places = isinstance(exchange, str) and isinstance(routing_key, str)
        why = _fault_of_envelope(payload) if places else "it does not say how it was delivered"
        if why is not None and self.watch.is_ours(routing_key if places else None):
            self.watch.drop(self.unacked_key, why, None)
        else:
            super()._do_restore_message(payload, exchange, routing_key, pipe, leftmost)

    def _size(self, queue: str) -> int:
        return int(self.mended(lambda: super(Channel, self)._size(queue)))

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        self._bound.add(exchange)
        self.mended(lambda: super(Channel, self)._queue_bind(exchange, routing_key, pattern, queue))

    def _move_aside(self) -> bool:
        """Rename keys that are no longer, or never were, what kombu keeps under their names; returns whether one was.

        Nothing of ours is in them, and something of somebody else's may be.
        """
        moved = 0
        with self.conn_or_acquire() as client:
            for name, kind in self._kept():
                key = f"{self.global_keyprefix}{name}"  # kombu's clients put it before the keys of other commands alone
                found = bytes_to_str(client.type(key))
                if found not in (kind, "none"):
                    aside = f"{key}.{found}-{uuid.uuid4().hex[:8]}"
                    client.rename(key, aside)
                    logger.warning(
                        "Redis: %.100s was a %s and not a %s; it is called %.150s now", key, found, kind, aside
                    )
                    moved += 1
        return moved > 0

    def _kept(self) -> Iterator[tuple[str, str]]:
        """Yield the keys that this channel uses, and what they are in Redis."""
        yield self.unacked_key, "hash"
        yield self.unacked_index_key, "zset"
        for exchange in self._bound:
            yield self.keyprefix_queue % exchange, "set"
            yield self.keyprefix_binding_permanent % exchange, "set"
        for queue in {*self.watch.consumed, *self.active_queues}:
            for step in self.priority_steps:
                yield self._q_for_pri(queue, step), "list"
