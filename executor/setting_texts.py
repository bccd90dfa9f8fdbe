"""What the text of a setting has to look like, and what it means. No refusal quotes it: it may hold a password."""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from executor.boundary.plans import SIGNER_FORM, Signer
from executor.masking.token_shape import is_token
from executor.sandbox.folders import OpenFolder
from secretstore import sizes
from secretstore.errors import NameRefused
from secretstore.naming import check_environment_name, check_project_name
from secretstore.pin import GivenPin
from secretstore.settings import Unacceptable


def server(text: str) -> str:
    """Parse the address of a server.

    Raises:
        Unacceptable: it has another form.
    """
    if not re.fullmatch(r"https?://[^/@\s]+/?", text):
        raise Unacceptable("is not the address of a server, as in https://sealrun.example.com")
    return text


def token(text: str) -> str:
    """Parse a whole token of ours.

    Raises:
        Unacceptable: it has another form.
    """
    if not is_token(text.encode(errors="replace")):
        raise Unacceptable("is not a whole token: srn_ and 37 letters and digits")
    return text


def broker_url(text: str) -> str:
    """Parse the URL, or URLs, of a supported broker.

    Raises:
        Unacceptable: it has another form.
    """
    for one in text.split(";"):  # kombu takes several, and tries one after the other
        scheme, mark, _ = one.partition("://")
        if not mark or scheme not in ("redis", "rediss", "redis+socket", "amqp", "amqps", "pyamqp"):
            at = "is" if one == text else "has, between its semicolons, what is"
            more = f". {_ENCODED}" if one != text else ""
            raise Unacceptable(f"{at} not the URL of a supported broker: redis://…, rediss://…, amqp://…{more}")
        if scheme != "redis+socket" and (why := _why_no_address(one)):
            raise Unacceptable(f"{why}. {_ENCODED}")
    return text


_ENCODED = "Special characters of a password are percent-encoded: / is %2F, # is %23, ? is %3F, @ is %40"


def _why_no_address(url: str) -> str | None:
    """Why a broker's URL leads nowhere; None where it may lead somewhere."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "cannot be read: its host or port is none"
    if parts.fragment or "@" in parts.path + parts.query:
        return "cannot be read: what stands before its @ has a character that ends a host"
    if parts.scheme.startswith("redis") and not re.fullmatch("/*[0-9]*", parts.path):
        return "does not end with the number of a database, as in redis://HOST:6379/0"
    return None


def package_index(text: str) -> str:
    """Parse the URL of a package index, without a credential.

    Raises:
        Unacceptable: it has another form.
    """
    scheme, mark, rest = text.partition("://")
    if not mark or scheme not in ("http", "https"):
        raise Unacceptable("is not the URL of a package index: https://…")
    if "@" in rest.partition("/")[0]:
        raise Unacceptable("contains a user or a password: store it as a secret and pass --setup-secret")
    return text


def listening(text: str) -> tuple[str, int]:
    """Parse an address with a port; one that is not loopback needs `open:` before it.

    Raises:
        Unacceptable: it has another form.
    """
    bare = text.removeprefix("open:")
    host, mark, port = bare.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]") if "[" in host else host)
    except ValueError:
        raise Unacceptable("is not an address with a port, as in 127.0.0.1:9464 or [::1]:9464") from None
    if not (mark and port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 1 << 16):
        raise Unacceptable("needs a port from 1 to 65535, as in 127.0.0.1:9464")
    if not address.is_loopback and bare == text:
        raise Unacceptable(
            "is not a loopback address, and whoever reaches it may read; if that is meant, write open: before it"
        )
    return str(address), int(port)


def doors(text: str) -> str:
    """Parse which door a worker takes runs from.

    Raises:
        Unacceptable: it has another form.
    """
    if text not in ("any", "api"):
        raise Unacceptable("is neither any nor api")
    return text


def signers(text: str) -> tuple[Signer, ...]:
    """Parse public keys of servers.

    Raises:
        Unacceptable: it has another form.
    """
    try:
        return tuple(Signer.parse(word.strip()) for word in text.split(","))
    except ValueError:
        raise Unacceptable(f"is not a list of public keys, as in {SIGNER_FORM}") from None


def uids(text: str) -> range:
    """Parse a range of user ids without root.

    Raises:
        Unacceptable: it has another form.
    """
    first, dash, last = text.partition("-")
    if not all(end.isascii() and end.isdigit() and len(end) <= 10 for end in ([first, last] if dash else [first])):
        raise Unacceptable("is not a range of user ids, as in 60706-61183")
    low, high = int(first), int(last or first)
    if not 0 < low <= high < 2**31:
        raise Unacceptable("must begin above 0, which is root, and not end before it begins")
    return range(low, high + 1)


def size(least: int) -> Callable[[str], int]:
    """Return a parser of sizes from this one upwards."""

    def parse(text: str) -> int:
        try:
            found = sizes.size(text)
        except ValueError:
            found = -1
        if not least <= found <= 1 << 46:
            raise Unacceptable(f"is not a size from {sizes.as_text(least)} to 64T, as in {sizes.FORM}")
        return found

    return parse


def cpus(text: str) -> float:
    """Parse a number of CPUs.

    Raises:
        Unacceptable: it has another form.
    """
    if not (text.isascii() and text.replace(".", "", 1).isdigit() and len(text) < 12 and 0.01 <= float(text) <= 4096):
        raise Unacceptable("is not a number of CPUs from 0.01 to 4096, as in 2 or 0.5")
    return float(text)


def places(text: str) -> tuple[str, ...]:
    """Parse projects and environments, `*` for any.

    Raises:
        Unacceptable: it has another form.
    """
    places = tuple(dict.fromkeys(place.strip() for place in text.split(",")))
    try:
        for place in places:
            project, slash, environment = place.partition("/")
            if project != "*":
                check_project_name(project)
            if environment != "*" or not slash:
                check_environment_name(environment)
    except NameRefused:
        raise Unacceptable("is not a list of PROJECT/ENV, as in shop/staging, data/*") from None
    return places


def pins(text: str) -> tuple[GivenPin, ...]:
    """Parse pins, each of one environment or of all.

    Raises:
        Unacceptable: it has another form.
    """
    try:
        return tuple(GivenPin.parse(one.strip(), "SEALRUN_PIN gives") for one in text.split(","))
    except ValueError as why:
        raise Unacceptable(f"is no list of [ENV=]PIN: {why}") from None


def open_folders(text: str) -> tuple[OpenFolder, ...]:
    """Parse folders, each for all projects or for those that are named.

    Raises:
        Unacceptable: it has another form.
    """
    folders = []
    for entry in text.split(":"):
        named, mark, path = ("", "", entry) if entry.startswith("/") else entry.partition("=")
        if not path.startswith("/"):
            raise Unacceptable("is not a list of absolute paths, as in /srv/models:shop=/data/shop")
        projects = tuple(name.strip() for name in named.split(",")) if mark else ()
        try:
            for project in projects:
                check_project_name(project)
        except NameRefused:
            raise Unacceptable("names a project that cannot be one, as shop is in shop=/data/shop") from None
        folders.append(OpenFolder(Path(path), projects))
    return tuple(folders)
