"""A server's origin: scheme, host and port. A token belongs to one."""

import ipaddress
from urllib.parse import urlsplit

from executor.errors import ServerUnusable

_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """The origin of a server's URL, always written the same way.

    Raises:
        ServerUnusable: it is none, or anybody on the way could read what is sent there.
    """
    if not url.isprintable() or " " in url:  # of which some would be left out in silence
        raise _none("the address", "it has characters that no address has")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _none(url, "its host or its port is none") from None
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in _PORTS or not host:
        raise _none(url, "it is not an http:// or https:// address")
    if parts.username is not None or parts.password is not None:
        raise _none("the address", "it holds a user or a password")  # which is not repeated
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise _none(url, "it is more than scheme, host and port")
    if not all(character.isascii() and (character.isalnum() or character in "-._:%") for character in host):
        raise _none("the address", "its host is not a name in ASCII")
    if parts.scheme == "http" and not is_loopback(host):
        raise ServerUnusable(
            server=url,
            why="over http:// everybody on the way reads the token and what runs print",
            hint="use https://; http:// is for this machine itself, as in http://127.0.0.1:8741",
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in (None, _PORTS[parts.scheme]) else f":{port}")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, whatever a resolver says."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _none(url: str, why: str) -> ServerUnusable:
    return ServerUnusable(server=url, why=why, hint="write it as https://sealrun.example.com")
