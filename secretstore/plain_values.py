"""What is plain configuration, told from a name and its value: hosts, ports, flags, URLs without credentials.

Whatever is not clearly plain is a secret: what is sealed without need costs a few stars in the output, and what is
shown without need cannot be taken back. So a host has to look like one *and* be called one, or have a usual ending;
each part of a URL's path has to be a word or a number, since a webhook's path is its password; and what begins as the
tokens of well-known services do is plain under no name. The reasons quote nothing.
"""

import re

from secretstore.acting_names import group_of
from secretstore.naming import is_named_like_a_secret, says_secret, words_of

_LONGEST = 300  # characters; and what is longer is no setting that somebody types
_ITEMS = re.compile(r"[,;\s]+")
_NUMBER = re.compile(r"[+-]?\d{1,15}(?:\.\d{1,6})?(?:ms|[smhd]|[KMGT]i?B|%)?", re.ASCII)
_WORD = re.compile(r"(?P<letters>[a-z]{1,14}|[A-Z][a-z]{1,13}|[A-Z]{1,14})?\d{0,2}|\d{1,12}", re.ASCII)
_CLASS = re.compile(r"[A-Za-z][a-z]{1,13}(?:[A-Z][a-z]{2,13}){1,4}", re.ASCII)
_CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxz]{5}|[aeiouy]{4}", re.IGNORECASE)  # more than a word has in a row
_IN_SEGMENT = re.compile(r"[._~+-]+")
_IN_SETTING = re.compile(r"[\s_./:@,+%()\[\]*&-]+")
_IN_URL = re.compile(r"[\w.~:/?&=,;\s%*+\[\]-]+", re.ASCII)  # no @, and no sign that a password may have
_LABEL = r"(?>(?:[a-z]{1,24}\d{0,6}|\d{1,12}|[a-z0-9]{1,12})(?![a-z0-9]))"  # atomic, or many take for ever
_HOST = re.compile(
    rf"(?:\*\.|\.)?(?P<name>{_LABEL}(?:[_-]+{_LABEL})*(?:\.{_LABEL}(?:[_-]+{_LABEL})*)*)\.?(?P<port>:\d{{1,5}})?"
    r"|\[[0-9a-f:.]+\](?::\d{1,5})?|\*",
    re.ASCII,
)
_ADDRESS = re.compile(
    r"\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2}|:\d{1,5})?|(?:localhost|[\w-]+\.localhost)(?::\d{1,5})?", re.ASCII
)
_ENDING_NAMES = """
    ai app at au biz br ca cc ch cloud cn co com cz de dev dk edu es eu fi fr gov in info internal int io it jp kr lan
    local me mil net nl no nz org pl pt ru se sg sh test tech uk us xyz za
"""
_ENDINGS = frozenset(_ENDING_NAMES.split())
_URL = re.compile(
    r"(?:jdbc:)?(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<hosts>[^/?#\s]*)(?P<path>/[^?#\s]*)?(?:\?(?P<query>[^?#\s]*))?"
)
_NO_HOST = ("sqlite", "file", "unix", "duckdb")
_PASSWORD_IN_PATH = ("ntfy.sh", "hc-ping.com", "api.telegram.org")
_HOOK = re.compile("hook", re.IGNORECASE)
_SHORT = 8  # a parameter's value under it could not be masked
_ASKS = frozenset(("sig", "signature", "sas", "code", "hash", "sid", "login", "user", "username", "uid", "session"))

_TOKEN = re.compile(
    r"sk[-_]|rk_|pk_live_|gh[pousr]_|github_pat_|glpat-|gl[a-z]{2,4}-|xox[a-z]-|xapp-|SG\.|eyJ|A[KS]IA[A-Z0-9]|AIza"
    r"|ya29\.|shp[a-z]{2}_|hf_|npm_|pypi-|do[ports]_v1_|dckr_pat_|lin_api_|ntn_|secret_|whsec_|sq0|EAA|-----BEGIN"
)
_CONNECTION_STRING = re.compile(
    r"(?:password|passwd|pwd|secret|token|sig|signature|\w*key|credentials?)\s*[=:]", re.IGNORECASE
)
_BEFORE_AT = re.compile(r"[^\s@]*[:/][^\s@]*@")  # a user and a password, with a scheme or without
_WITH_PASSWORD = re.compile(r"://[^\s/?#@:]*:[^\s@]+@")
_LOOKED_AT = 4096  # characters of a value in which a password is looked for

_PUBLIC = re.compile(r"(?:NEXT_PUBLIC|NUXT_PUBLIC|EXPO_PUBLIC|PUBLIC|VITE|REACT_APP|VUE_APP|GATSBY)_\w+")
_IDENTIFIER = re.compile(
    r"(?:.*_)?(?:CLIENT|TENANT|ACCOUNT|PROJECT|APP|APPLICATION|ORG|ORGANIZATION|SUBSCRIPTION|PRICE|PRODUCT|PLAN|CHANNEL|CHAT"
    r"|TEAM|ZONE|POOL|SENDER|MEASUREMENT|DISTRIBUTION|WORKSPACE|CATALOG|VPC|SUBNET|INSTALLATION)_ID",
    re.IGNORECASE,
)
_IDENTIFIES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}", re.ASCII)
_CALLED = {
    "host": "bind bootstrap broker brokers host hostname hostnames hosts node nodes sentinels server servers",
    "address": """addr address addresses domain domains endpoint endpoints listen location origin origins uri uris url
        urls""",
    "path": "path paths dir directory file folder root location socket data home prefix",
    "setting": """address agent backend branch bucket channel charset class client cluster collation
        connection country currency database dateformat db days dialect disk driver email encoding
        engine env environment executor format from image interval kind lang language level limit
        loglevel locale mailer mode model module name namespace organization package period prefix
        profile profiles project protocol provider queue region repo repository role scheme schema
        schemas size store subject suffix table tag theme timeout timezone title topic type tz user
        username version warehouse zone""",
    "no number": "code codes license licence serial",
}
_CALLS = {what: frozenset(words.split()) for what, words in _CALLED.items()}
_LIMIT_NAMES = """
    age attempts bits count days disabled enabled expiration expire expires expiry hours interval iterations len length
    lifetime limit max min minutes ms required retries rounds seconds size timeout ttl
"""
_LIMITS = frozenset(_LIMIT_NAMES.split())
_FLAG = re.compile(r"true|false|yes|no|on|off", re.IGNORECASE)
_NO_VALUE = frozenset(("", "null", "none", "(null)"))


def has_no_value(name: str, value: str) -> bool:
    """Whether nothing is there of what is named like a secret: it is empty, or `null`, as Laravel writes it."""
    return is_named_like_a_secret(name) and value.strip().lower() in _NO_VALUE


def why_plain(name: str, value: str) -> str | None:
    """Return why a name and its value are plain configuration, in a few words; None if they may be a secret."""
    text = value.strip()
    if is_named_like_a_secret(name):
        return _why_only_named_so(name, text)
    return _why(name, text)


def _why_only_named_so(name: str, text: str) -> str | None:
    """What is about a password and is none: `PASSWORD_MIN_LENGTH=12`, `AUTH_URL=https://login.example.com`."""
    if words_of(name)[-1] in _LIMITS:
        return "a number" if _NUMBER.fullmatch(text) else "a flag" if _FLAG.fullmatch(text) else None
    return _why(name, text) if "://" in text and not says_secret(name) else None


def _why(name: str, text: str) -> str | None:
    if not text or len(text) > _LONGEST or not text.isprintable() or "${" in text:
        return None
    if _TOKEN.match(text) or _CONNECTION_STRING.search(text) or ("@" in text and _BEFORE_AT.search(text)):
        return None
    if (group := group_of(name)) is not None and group.harmless is not None and group.harmless.fullmatch(text):
        return "a setting by its name"
    words = frozenset(words_of(name)[-1:])
    items = [item for item in _ITEMS.split(text) if item]
    if "://" in text:
        plain = _IN_URL.fullmatch(text) and not _HOOK.search(name + text) and all(map(_is_plain_url, items))
        return "a URL without credentials" if plain else None
    if _NUMBER.fullmatch(text) and not words & _CALLS["no number"]:
        return "a number"
    called, led_to = bool(words & _CALLS["host"]), bool(words & _CALLS["address"])
    if items and all(_is_host(item, called or (led_to and bool(re.search("[.:]", item)))) for item in items):
        return "a host" if len(items) == 1 else "hosts"
    if _is_path(text, bool(words & _CALLS["path"])):
        return "a path"
    if _IDENTIFIER.fullmatch(name) and _IDENTIFIES.fullmatch(text):
        return "an identifier by its name"
    if _PUBLIC.fullmatch(name):
        return "public by its name"
    if words & _CALLS["setting"] and all(map(_is_word, _IN_SETTING.split(text))):
        return "a setting by its name"
    return None


def has_login(value: str) -> bool:
    """Whether there is a URL with a password in it."""
    return _WITH_PASSWORD.search(value[:_LOOKED_AT]) is not None


def without_login(value: str) -> str:
    """Return a value without what stands before the last @ of each URL in it, and without parameters."""
    return " ".join(map(_bare, value.split()))


def _bare(url: str) -> str:
    before, scheme, rest = url.partition("://")
    if not scheme:
        return url
    _, at, place = rest.rpartition("@")
    place, mark, _ = place.partition("?")
    return before + scheme + ("***@" if at else "") + place + ("?***" if mark else "")


def _is_word(text: str) -> bool:
    """Whether a text may be a word, a number, both, or a name in camel case; nothing is one, too."""
    if _CLASS.fullmatch(text):
        return True
    word = _WORD.fullmatch(text)
    return word is not None and (len(text) <= len("pgrst") or not _CONSONANTS.search(text))


def _is_segment(text: str) -> bool:
    return all(map(_is_word, _IN_SEGMENT.split(text)))


def _is_plain_url(text: str) -> bool:
    """Whether a URL has neither a login nor anything in its path and query that may be a password."""
    url = _URL.fullmatch(text)
    if url is None:
        # A further host of the one before it, as in `memcache://a:11211,b:11211`.
        further = _HOST.fullmatch(text)
        return further is not None and further["port"] is not None
    hosts, path = url["hosts"], url["path"] or "/"
    if hosts:
        if not all(_is_host(host, True) for host in hosts.split(",")):
            return False
    elif url["scheme"].partition("+")[0] not in _NO_HOST:
        return False
    if path != "/" and hosts.partition(":")[0].endswith(_PASSWORD_IN_PATH):
        return False
    query = filter(None, (url["query"] or "").split("&"))
    return all(map(_is_segment, path.split("/"))) and all(map(_is_plain_parameter, query))


def _is_plain_parameter(text: str) -> bool:
    name, equals, value = text.partition("=")
    if not equals or name.lower() in _ASKS or is_named_like_a_secret(name):
        return False
    return len(name) > 1 and _is_segment(name) and len(value) < _SHORT and _is_segment(value)


def _is_host(text: str, called: bool) -> bool:
    if _ADDRESS.fullmatch(text):
        return True
    host = _HOST.fullmatch(text)
    if host is None:
        return False
    return called or (host["name"] is not None and "." in host["name"] and host["name"].rpartition(".")[2] in _ENDINGS)


def _is_path(text: str, called: bool) -> bool:
    if not text.startswith(("/", "~/", "./", "../")) or _HOOK.search(text):
        return False
    segments = [segment for segment in text.split("/") if segment not in ("", "~", ".", "..")]
    return len(segments) >= (1 if called else 2) and all(map(_is_segment, segments))
