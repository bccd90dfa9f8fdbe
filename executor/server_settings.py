"""The server's own settings, beside those that it shares with everything else."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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

OIDC_ISSUER = Setting(
    "SEALRUN_OIDC_ISSUER",
    "none: people have a password here",
    "URL",
    "the OpenID provider by which people log in, as in `https://login.example.com/realms/acme`",
)
OIDC_CLIENT_ID = Setting("SEALRUN_OIDC_CLIENT_ID", "none", "text", "what the provider calls this server")
OIDC_CLIENT_SECRET = Setting(
    "SEALRUN_OIDC_CLIENT_SECRET", "none", "text", "with which this server proves that to the provider", from_file=True
)
OIDC_SCOPES = Setting(
    "SEALRUN_OIDC_SCOPES",
    "openid profile",
    "words, with blanks between",
    "what the provider is asked for; many tell a person's groups only for a scope of their own",
)
OIDC_GROUPS_CLAIM = Setting(
    "SEALRUN_OIDC_GROUPS_CLAIM",
    "groups",
    "name",
    "the claim that lists a person's groups, to which `sealrun member add --group` gives roles",
)

SERVER_SETTINGS = (
    LISTEN, PUBLIC_URL, TRUSTED_PROXIES,
    OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, OIDC_SCOPES, OIDC_GROUPS_CLAIM,
)  # fmt: skip


@dataclass(frozen=True)
class OidcSettings:
    """The OpenID provider by which people log in."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: str
    groups_claim: str


@dataclass(frozen=True)
class ServerSettings:
    """The server's settings. See docs/reference/settings.md."""

    listen: tuple[str, int]
    public_url: str
    """An origin: scheme, host and port."""
    trusted_proxies: tuple[str, ...]
    oidc: OidcSettings | None = None

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
        oidc=_oidc(reading),
    )
    if PUBLIC_URL.name not in environ and not is_loopback(host):
        reading.problems.append(
            f"{PUBLIC_URL.name} is not set, and {LISTEN.name} is not a loopback address: say where people reach it"
        )
    reading.finish()
    return settings


def _oidc(reading: SettingsReading) -> OidcSettings | None:
    issuer = reading.value(OIDC_ISSUER, _issuer, None)
    found = OidcSettings(
        issuer or "",
        reading.value(OIDC_CLIENT_ID, str, ""),
        reading.value(OIDC_CLIENT_SECRET, str, ""),
        reading.value(OIDC_SCOPES, str, "openid profile"),
        reading.value(OIDC_GROUPS_CLAIM, str, "groups"),
    )
    if issuer is None:
        return None
    for setting, value in ((OIDC_CLIENT_ID, found.client_id), (OIDC_CLIENT_SECRET, found.client_secret)):
        if not value:
            reading.problems.append(f"{setting.name} is not set, and {OIDC_ISSUER.name} is")
    if "openid" not in found.scopes.split():
        reading.problems.append(f"{OIDC_SCOPES.name} does not have openid among its words")
    return found


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


def _issuer(text: str) -> str:
    parts = urlsplit(text)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise Unacceptable("is not the URL of a provider, as in https://login.example.com/realms/acme")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise Unacceptable("is not https: anybody between could say who somebody is")
    return text


def _proxies(text: str) -> tuple[str, ...]:
    found = tuple(one.strip() for one in text.split(","))
    try:
        for one in found:
            ipaddress.ip_network(one, strict=False)
    except ValueError:
        raise Unacceptable("is not a list of addresses, as in 127.0.0.1, 10.0.0.0/8") from None
    return found
