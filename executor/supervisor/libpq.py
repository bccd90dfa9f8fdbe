"""A PostgreSQL URL as libpq reads it, and a section of its service file.

A line of that file is a keyword, `=`, and all that follows up to white space at the end of the line: there are no
quotes, no escapes and no further lines, and a line may have some thousand bytes.
"""

from collections.abc import Mapping

from executor.supervisor.unwritable import Unwritable

SECRET = ("password", "sslpassword", "oauth_client_secret")
_LINE = 1000  # bytes; libpq's buffer has 1,024
_HEX = "0123456789abcdefABCDEF"


def without_driver(url: str) -> str:
    """The URL for libpq: SQLAlchemy's may name a driver, as in `postgresql+psycopg://`."""
    scheme, mark, rest = url.partition("://")
    return scheme.partition("+")[0] + mark + rest


def parameters(url: str) -> dict[str, str]:
    """The keywords of a URL, percent-decoded.

    Raises:
        Unwritable: libpq would not read it; the sentence quotes nothing of it.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise Unwritable("its url is not a URL that begins with postgresql://")
    place, _, query = rest.partition("?")
    authority, _, database = place.partition("/")
    login, at, hosts = authority.rpartition("@")
    if "@" in login:
        raise Unwritable("its url has more than one @: write those of user and password as %40")
    user, _, password = login.partition(":") if at else ("", "", "")
    names, ports = _hosts(hosts)
    found = {"host": names, "port": ports, "dbname": database, "user": user, "password": password}
    found = {keyword: _decoded(text) for keyword, text in found.items() if text}
    for pair in query.split("&") if query else []:
        keyword, equals, text = pair.partition("=")
        if not equals or "=" in text or not keyword:
            raise Unwritable("its url has a parameter without a value, or with two")
        keyword, text = _decoded(keyword), _decoded(text)
        if not keyword.isascii() or not keyword.replace("_", "").isalnum() or keyword != keyword.lower():
            raise Unwritable("its url has a parameter that libpq has not")
        if (keyword, text) == ("ssl", "true"):  # as JDBC has it
            keyword, text = "sslmode", "require"
        found[keyword] = text
    return found


def service(name: str, parameters: Mapping[str, str]) -> bytes:
    """The section of a service.

    Raises:
        Unwritable: something in it would not be read as it is.
    """
    lines = [f"[{name}]"]
    for keyword, text in parameters.items():
        if keyword.startswith("service"):
            raise Unwritable("its url names another service")
        if any(character in text for character in "\0\n\r") or text != text.rstrip():
            raise Unwritable(f"its {keyword} has a line break, or ends in white space")
        line = f"{keyword}={text}"
        if len(line.encode()) > _LINE:
            raise Unwritable(f"its {keyword} is longer than libpq takes from a file")
        lines.append(line)
    return "".join(f"{line}\n" for line in lines).encode()


def _hosts(text: str) -> tuple[str, str]:
    names, ports = [], []
    for one in text.split(",") if text else []:
        if one.startswith("["):
            name, bracket, port = one[1:].partition("]")
            if not bracket or (port and not port.startswith(":")):
                raise Unwritable("its url has a [ without a ]")
            port = port[1:]
        else:
            name, _, port = one.partition(":")
        names.append(name)
        ports.append(port)
    return ",".join(names), ",".join(ports)


def _decoded(text: str) -> str:
    first, *rest = text.split("%")
    raw = first.encode()
    for piece in rest:
        if len(piece) < 2 or piece[0] not in _HEX or piece[1] not in _HEX or piece[:2] == "00":
            raise Unwritable("its url has a % that is not followed by two hexadecimal digits: write % as %25")
        raw += bytes((int(piece[:2], 16),)) + piece[2:].encode()
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Unwritable("its url has percent signs that do not make UTF-8 text") from None
