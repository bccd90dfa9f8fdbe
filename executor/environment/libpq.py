"""A PostgreSQL URL as libpq reads it, and a section of its service file.

A line of that file is a keyword, `=`, and all that follows up to white space at the end of the line: there are no
quotes, no escapes and no further lines, and a line may have some thousand bytes.
"""

from collections.abc import Mapping

from executor.environment.values import Unwritable

SECRET = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
_LISTED = """
    application_name channel_binding client_encoding connect_timeout dbname fallback_application_name gssdelegation
    gssencmode gsslib host hostaddr keepalives keepalives_count keepalives_idle keepalives_interval krbsrvname
    load_balance_hosts max_protocol_version min_protocol_version oauth_client_id oauth_client_secret oauth_issuer
    oauth_scope options passfile password port replication require_auth requirepeer scram_client_key scram_server_key
    ssl_max_protocol_version ssl_min_protocol_version sslcert sslcertmode sslcompression sslcrl sslcrldir sslkey
    sslkeylogfile sslmode sslnegotiation sslpassword sslrootcert sslsni target_session_attrs tcp_user_timeout
    user
"""
KEYWORDS = frozenset(_LISTED.split())
"""What a service may say; of what the documentation of PostgreSQL 18 lists, all but `service` and `servicefile`."""

_LINE = 1000  # bytes; libpq's buffer has 1,024
_HEX = frozenset("0123456789abcdefABCDEF")


def without_driver(url: str) -> str:
    """The URL for libpq: SQLAlchemy's may name a driver, as in `postgresql+psycopg://`."""
    scheme, mark, rest = url.partition("://")
    return scheme.partition("+")[0] + mark + rest


def parameters(url: str) -> dict[str, str]:
    """The keywords of a URL, percent-decoded.

    Raises:
        Unwritable: libpq would not read it, or other libraries would read it otherwise; the sentence quotes nothing.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise Unwritable("its url does not begin with postgresql://")
    if url.split() != [url]:
        raise Unwritable("its url has white space in it: write a blank as %20")
    login, place = "", rest
    if "@" in rest.partition("/")[0]:
        login, _, place = rest.partition("@")
    place, _, query = place.partition("?")
    if "@" in place:
        raise Unwritable("its url has an @ or a / too many: in user and password, write %40 and %2F")
    user, _, password = login.partition(":")
    authority, _, database = place.partition("/")
    hosts, ports = _hosts(authority)
    found = {"host": hosts, "port": ports, "dbname": database, "user": user, "password": password}
    found = {keyword: _decoded(text) for keyword, text in found.items() if text}
    return found | _query(query)


def service(name: str, parameters: Mapping[str, str]) -> bytes:
    """The section of a service.

    Raises:
        Unwritable: something in it would not be read as it is.
    """
    lines = [f"[{name}]"]
    for keyword, text in parameters.items():
        if keyword not in KEYWORDS:
            raise Unwritable("its url has a parameter that no service may have")
        if any(character in text for character in "\0\n\r") or text != text.rstrip():
            raise Unwritable(f"its {keyword} has a line break, or ends in white space")
        line = f"{keyword}={text}"
        if len(line.encode()) > _LINE:
            raise Unwritable(f"its {keyword} is longer than libpq takes from a file")
        lines.append(line)
    return "".join(f"{line}\n" for line in lines).encode()


def _hosts(authority: str) -> tuple[str, str]:
    names, ports = [], []
    for one in authority.split(","):
        if one.startswith("["):
            name, _, port = one[1:].partition("]")
            if not name or "]" not in one or port[:1] not in ("", ":"):
                raise Unwritable("its url has an address in [ ] that is none")
            port = port[1:]
        else:
            name, _, port = one.partition(":")
        names.append(name)
        ports.append(port)
    return ",".join(names), ",".join(ports)


def _query(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in query.removesuffix("&").split("&") if query else []:
        keyword, _, text = pair.partition("=")
        if pair.count("=") != 1:
            raise Unwritable("its url has a parameter without a value, or with two")
        keyword, text = _decoded(keyword), _decoded(text)
        found |= {"sslmode": "require"} if (keyword, text) == ("ssl", "true") else {keyword: text}
    return found


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
