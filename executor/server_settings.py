"""The server's own settings, beside those that it shares with everything else."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from secretstore.settings import Setting, SettingsReading, Unacceptable

PORT = 8741

LISTEN = Setting(
    "SEALRUN_LISTEN",
    f"127.0.0.1:{PORT}",
    "address",
    "where `sealrun serve` takes requests, as in `0.0.0.0:8741` behind a proxy that speaks TLS",
)
PUBLIC_URL = Setting(
    "SEALRUN_PUBLIC_URL",
    "http:// and the address it listens on",
    "URL",
    "where people reach the server, as in `https://sealrun.example.com`. It answers to this host name alone; https is "
    "required unless it is loopback",
)
TRUSTED_PROXIES = Setting(
    "SEALRUN_TRUSTED_PROXIES",
    "none",
    "addresses, with commas between",
    "the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed, as in `127.0.0.1`; without it the address "
    "of a caller, by which log-ins are limited, is the proxy's",
)

SERVER_SETTINGS = (LISTEN, PUBLIC_URL, TRUSTED_PROXIES)


@dataclass(frozen=True)
class ServerSettings:
    """The server's settings. See docs/reference/settings.md."""

    listen: tuple[str, int]
    public_url: str
    """An origin: scheme, host and port."""
    trusted_proxies: tuple[str, ...]

    @property
    def hosts(self) -> frozenset[str]:
        """What a request's `Host` may be: of a loopback address also its other names."""
        parts = urlsplit(self.public_url)
        named = {parts.netloc}
        if is_loopback(parts.hostname or ""):
            named |= {f"{name}:{parts.port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        return frozenset(named)


def read_server_settings(environ: Mapping[str, str]) -> ServerSettings:
    """Read the server's settings.

    Raises:
        SettingsProblem: some are not valid; it lists every problem, without raw values.
    """
    reading = SettingsReading(environ)
    host, port = reading.value(LISTEN, _address, ("127.0.0.1", PORT))
    shown = f"[{host}]" if ":" in host else host
    settings = ServerSettings(
        listen=(host, port),
        public_url=reading.value(PUBLIC_URL, _origin, f"http://{shown}:{port}"),
        trusted_proxies=reading.value(TRUSTED_PROXIES, _proxies, ()),
    )
    if PUBLIC_URL.name not in environ and not is_loopback(host):
        reading.problems.append(
            f"{PUBLIC_URL.name} is not set, and {LISTEN.name} is not a loopback address: say where people reach it"
        )
    reading.finish()
    return settings


def is_loopback(host: str) -> bool:
    """Whether a host name or an address is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[0-9.]+):([0-9]{1,5})", text)
    if found is None or not 0 < int(found[2]) < 1 << 16:
        raise Unacceptable(f"is not an address with a port, as in 127.0.0.1:{PORT} or [::1]:{PORT}")
    host = found[1].strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise Unacceptable(f"is not an address with a port, as in 127.0.0.1:{PORT} or [::1]:{PORT}") from None
    return host, int(found[2])


def _origin(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise Unacceptable("cannot be read: its host or port is none") from None
    host = (parts.hostname or "").lower()
    if (
        parts.scheme not in ("http", "https")
        or not host
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
    ):
        raise Unacceptable("is not the URL of a server, as in https://sealrun.example.com")
    if parts.username is not None or parts.password is not None:
        raise Unacceptable("holds a user or a password")
    if parts.scheme == "http" and not is_loopback(host):
        raise Unacceptable("is not https: tokens and log-ins would cross the network readable")
    shown = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{shown}" + (f":{port}" if port not in (None, usual) else "")


def _proxies(text: str) -> tuple[str, ...]:
    found = tuple(one.strip() for one in text.split(","))
    try:
        for one in found:
            ipaddress.ip_network(one, strict=False)
    except ValueError:
        raise Unacceptable("is not a list of addresses, as in 127.0.0.1, 10.0.0.0/8") from None
    return found
