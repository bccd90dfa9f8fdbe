"""Servers that take a connection with the password left out: tried, as nobody's settings tell.

A run reaches the network, so whatever it can connect to without a password is its own to read and change. No password
of ours is sent, and no server is waited for long.
"""

import contextlib
import ipaddress
import secrets
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from executor.settings import Settings

PATIENCE = 3.0
"""Seconds for a connection, and for each answer."""

_NOWHERE = "/proc/self/no-password-file"
"""A path where nothing can be made: libpq says nothing of a password file that is not there."""


@dataclass(frozen=True)
class Unguarded:
    """A server that takes anybody's connection; `loopback` where it was tried from its own machine."""

    what: str
    loopback: bool
    text: str
    mend: str


def unguarded(settings: Settings) -> Iterator[Unguarded]:
    """Try the servers that are configured, not the embedded ones; one that does not answer is not told here."""
    for found in (_broker(settings.broker_url), _database(settings.store.database_url)):
        if found is not None:
            yield found


def is_configured(settings: Settings) -> bool:
    """Whether there is any server to try, which is not so of a socket or a file."""
    return _server(settings.broker_url) is not None or _server(settings.store.database_url) is not None


def _broker(url: str | None) -> Unguarded | None:
    server = _server(url)
    if server is None:
        return None
    if server.scheme.startswith("redis"):
        takes, how = _redis_takes(server), "without a password"
        mend = "give it one (requirepass, or an ACL), and say it in SEALRUN_BROKER_URL: redis://:PASSWORD@HOST:6379/0"
    else:
        takes, how = _rabbitmq_takes(server), "of guest with the password guest"
        mend = "make a user of your own and delete that one: rabbitmqctl delete_user guest"
    if not takes:
        return None
    can = "whoever reaches it, runs included, can ring workers, hold their bells back and read which runs there are"
    return _told("broker", server, how, can, mend)


def _database(url: str) -> Unguarded | None:
    server = _server(url)
    if server is None or not _postgresql_takes(server):
        return None
    can = "whoever reaches it, runs included, can change what is recorded and what is run"
    mend = "replace trust by scram-sha-256 in its pg_hba.conf, and give the user of SEALRUN_DATABASE_URL a password"
    return _told("database", server, "without a password", can, mend)


def _told(what: str, server: SplitResult, how: str, can: str, mend: str) -> Unguarded:
    place = f"{server.scheme.partition('+')[0]}://{server.hostname}" + (f":{server.port}" if server.port else "")
    text = f"the {what} {place} takes connections {how}: {can}"
    return Unguarded(what, _is_loopback(server.hostname or ""), text, mend)


def _server(url: str | None) -> SplitResult | None:
    """A URL's parts, where it names a server of the network; the first of several."""
    try:
        parts = urlsplit((url or "").partition(";")[0])
        named = parts.hostname is not None and parts.port != 0
    except ValueError:
        return None
    return parts if named and not parts.scheme.endswith("socket") and not parts.scheme.startswith("sqlite") else None


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _redis_takes(server: SplitResult) -> bool:
    import redis  # here and below in functions: slow to import, and few need it
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    secured: dict[str, Any] = {}
    if server.scheme == "rediss":
        secured = {"ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False}  # nothing secret is sent
    once = Retry(NoBackoff(), 0)
    with contextlib.suppress(redis.RedisError, OSError, ValueError):
        client = redis.Redis(
            host=server.hostname or "", port=server.port or 6379, socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE, protocol=2, retry=once, **secured,
        )  # fmt: skip
        with client:
            return bool(client.ping())
    return False


def _rabbitmq_takes(server: SplitResult) -> bool:
    import amqp

    secured: Any = {"cert_reqs": ssl.CERT_NONE} if server.scheme == "amqps" else False
    port = server.port or (5671 if secured else 5672)
    connection = amqp.Connection(
        host=f"{server.hostname}:{port}", userid="guest", password="guest",  # what it ships with
        virtual_host=unquote(server.path[1:]) or "/", ssl=secured, connect_timeout=PATIENCE, read_timeout=PATIENCE,
    )  # fmt: skip
    try:
        connection.connect()
    except Exception:  # noqa: BLE001  # whatever it is, this is no connection of guest's
        return False
    finally:
        with contextlib.suppress(Exception):
            connection.collect() if not connection.connected else connection.close()
    return True


def _postgresql_takes(server: SplitResult) -> bool:
    try:
        import psycopg
    except ImportError:
        return False
    given: dict[str, Any] = {
        "host": server.hostname, "port": server.port or 5432, "user": unquote(server.username or "") or None,
        "dbname": unquote(server.path[1:]) or None, "passfile": _NOWHERE, "connect_timeout": int(PATIENCE) or 1,
    }  # fmt: skip
    if psycopg.pq.version() >= 160000:
        given["require_auth"] = "none"  # it fails where it is asked for anything
    else:
        given["password"] = secrets.token_hex(16)  # in the place of PGPASSWORD; a server that trusts does not ask
    try:
        psycopg.connect(**{name: value for name, value in given.items() if value is not None}).close()
    except (psycopg.Error, OSError, ValueError):
        return False
    return True
