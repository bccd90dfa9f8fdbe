"""A PostgreSQL URL as libpq reads it, and a section of its service file.

A line of that file is a keyword, `=` and a value, without trailing white space: there are no quotes, no escapes and no
continuation lines, and a line has at most about a thousand bytes.
"""

from collections.abc import Mapping

from executor.environment.values import Unusable

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
"""The keywords of a service: all that PostgreSQL 18 documents, except `service` and `servicefile`."""

_LINE = 1000  # bytes; libpq's buffer has 1,024
_HEX = frozenset("0123456789abcdefABCDEF")


def without_driver(url: str) -> str:
    """Return the URL for libpq: SQLAlchemy's may name a driver, as in `postgresql+psycopg://`."""
    scheme, mark, rest = url.partition("://")
    return scheme.partition("+")[0] + mark + rest


def parameters(url: str) -> dict[str, str]:
    """Return the keywords of a URL, percent-decoded.

    Raises:
        Unusable: libpq cannot read it, or other libraries read it differently; the message quotes nothing.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise Unusable("its url does not begin with postgresql://")
    if url.split() != [url]:
        raise Unusable("its url has white space in it: write a space as %20")
    login, place = "", rest
    if "@" in rest.partition("/")[0]:
        login, _, place = rest.partition("@")
    place, _, query = place.partition("?")
    if "@" in place:
        raise Unusable("its url has an @ or a / too many: write them as %40 and %2F in user and password")
    user, _, password = login.partition(":")
    authority, _, database = place.partition("/")
    hosts, ports = _hosts(authority)
    found = {"host": hosts, "port": ports, "dbname": database, "user": user, "password": password}
    found = {keyword: _decoded(text) for keyword, text in found.items() if text} | _query(query)
    if ":" in found.get("sslkey", ""):
        raise Unusable("its url has an sslkey that names an engine, which is code: name a file")
    return found


def service(name: str, parameters: Mapping[str, str]) -> bytes:
    """Write the section of a service.

    Raises:
        Unusable: libpq would not read something in it as it is.
    """
    lines = [f"[{name}]"]
    for keyword, text in parameters.items():
        if keyword not in KEYWORDS:
            raise Unusable("its url has a parameter that a service cannot have")
        if any(character in text for character in "\0\n\r") or text != text.rstrip():
            raise Unusable(f"its {keyword} has a line break, or ends in white space")
        line = f"{keyword}={text}"
        if len(line.encode()) > _LINE:
            raise Unusable(f"its {keyword} is longer than libpq reads from a file")
        lines.append(line)
    return "".join(f"{line}\n" for line in lines).encode()


def _hosts(authority: str) -> tuple[str, str]:
    names, ports = [], []
    for one in authority.split(","):
        if one.startswith("["):
            name, _, port = one[1:].partition("]")
            if not name or "]" not in one or port[:1] not in ("", ":"):
                raise Unusable("its url has an invalid address in [ ]")
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
            raise Unusable("its url has a parameter without a value, or with two")
        keyword, text = _decoded(keyword), _decoded(text)
        found |= {"sslmode": "require"} if (keyword, text) == ("ssl", "true") else {keyword: text}
    return found


def _decoded(text: str) -> str:
    first, *rest = text.split("%")
    raw = first.encode()
    for piece in rest:
        if len(piece) < 2 or piece[0] not in _HEX or piece[1] not in _HEX or piece[:2] == "00":
            raise Unusable("its url has a % that is not followed by two hexadecimal digits: write % as %25")
        raw += bytes((int(piece[:2], 16),)) + piece[2:].encode()
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Unusable("its url is not UTF-8 once its percent signs are decoded") from None
