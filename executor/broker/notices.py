"""Tell workers at once that somebody asked to cancel a run: a nudge to look into the database.

On PostgreSQL it is NOTIFY, sent by the transaction that asks; with SQLite it is a Redis broker's pub/sub. A notice
holds only the run's id. Whoever hears it looks the run up, so an invented or late id changes nothing. Workers also look
once a second, so a lost notice (a pooler may drop it; RabbitMQ sends none) costs a second.
"""

import contextlib
import hashlib
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session

from executor.broker.embedded import broker_address
from executor.settings import Settings
from secretstore.database import Database
from secretstore.errors import SecretStoreError

CHANNEL = "sealrun_cancel"

_LOOK = 1.0  # seconds between a listener's checks whether to stop
_AGAIN = 2.0  # seconds before reconnecting


def tell_with(session: Session, db: Database, run_id: str) -> None:
    """Tell the workers when this transaction commits, if the database can."""
    if db.dialect == "postgresql":
        session.connection().execute(select(func.pg_notify(CHANNEL, run_id)))


def tell(db: Database, settings: Settings, run_id: str) -> None:
    """Tell the workers through the broker, if the database cannot; on failure they find out by themselves."""
    address = _address(db, settings)
    if address is None:
        return
    import redis

    with contextlib.suppress(redis.RedisError, OSError, ValueError), _client(address) as client:
        client.publish(_channel(db), run_id)


def listen(db: Database, settings: Settings, stopping: threading.Event, heard: Callable[[str], None]) -> None:
    """Call `heard` with the run id of each notice, until `stopping`; reconnect when the connection is lost."""
    once: Callable[[threading.Event, Callable[[str], None]], None]
    broken: type[Exception]
    if db.dialect == "postgresql":
        once, broken = partial(_listen_to_database, db), db.engine.dialect.loaded_dbapi.Error
    elif (address := _address(db, settings)) is not None:
        import redis

        once, broken = partial(_listen_to_broker, address, _channel(db)), redis.RedisError
    else:
        return
    while not stopping.is_set():
        with contextlib.suppress(broken, SecretStoreError, OSError, ValueError):
            once(stopping, heard)
        stopping.wait(_AGAIN)


def _listen_to_database(db: Database, stopping: threading.Event, heard: Callable[[str], None]) -> None:
    with db.named_errors():
        pooled = db.engine.raw_connection()
    connection: Any = pooled.driver_connection
    pooled.detach()  # ours while we listen: it must not take a place in the pool
    with contextlib.closing(connection):
        connection.rollback()
        connection.autocommit = True
        connection.execute(f"LISTEN {CHANNEL}")
        while not stopping.is_set():
            for notice in connection.notifies(timeout=_LOOK):
                heard(notice.payload)


def _listen_to_broker(address: str, channel: str, stopping: threading.Event, heard: Callable[[str], None]) -> None:
    with _client(address) as client, client.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(channel)
        while not stopping.is_set():
            message = subscription.get_message(timeout=_LOOK)
            if message is not None:
                heard(message["data"].decode(errors="replace"))


def _address(db: Database, settings: Settings) -> str | None:
    """Return the broker that has pub/sub; None if the database has NOTIFY or neither has it."""
    url = settings.broker_url or broker_address(settings.store.home)
    if db.dialect == "postgresql" or not url.startswith("redis"):
        return None
    return url.replace("redis+socket://", "unix://", 1)


def _channel(db: Database) -> str:
    """Return this database's own channel: several homes may share a server."""
    file = str(Path(db.engine.url.database or "").resolve())
    return f"{CHANNEL}-{hashlib.sha256(file.encode(errors='replace')).hexdigest()[:16]}"


def _client(address: str) -> Any:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    once = Retry(NoBackoff(), 0)
    return Redis.from_url(address, socket_connect_timeout=2, socket_timeout=5, health_check_interval=10, retry=once)
