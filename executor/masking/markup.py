"""Entities and references of HTML and XML."""

from collections.abc import Iterator

SPECIAL = b"&<>\"'"
_QUOTES = (
    (b"&quot;", b"&#x27;"),  # html.escape, Django
    (b"&#34;", b"&#39;"),  # markupsafe, Go
    (b"&quot;", b"&#39;"),  # .NET, Ruby
    (b"&quot;", b"&#039;"),  # PHP
    (b"&quot;", b"'"),  # an attribute as Python, lxml, Java and browsers write it
    (b"&quot;", b"&apos;"),  # XML
)
_ATTRIBUTE = (b"&quot;", b"'")
_WHITE_FORMS = (
    (b"&#09;", b"&#10;", b"&#13;"),  # ElementTree
    (b"&#9;", b"&#10;", b"&#13;"),  # saxutils, lxml, Java
)


def html_forms(value: bytes) -> Iterator[bytes]:
    """Yield it as text and as an attribute of a page."""
    text = _text(value)
    yield text
    for quotes in _QUOTES:
        yield _quoted(text, quotes)
    if 0x2B in value:
        yield _quoted(text, (b"&#34;", b"&#39;")).replace(b"+", b"&#43;")  # Go's html/template


def in_page(value: bytes) -> Iterator[bytes]:
    """Yield the commonest of these forms, for what has another form already."""
    if value.translate(None, SPECIAL) == value:
        return
    text = _text(value)
    yield text
    for quotes in _QUOTES[:2]:
        yield _quoted(text, quotes)


def xml_forms(value: bytes) -> Iterator[bytes]:
    """Yield it with references for tabs and line ends, which an attribute would lose."""
    if value.translate(None, b"\t\n\r") == value:
        return
    text = _text(value)
    if b"\r" in value:
        yield text.replace(b"\r", b"&#13;")
    for quotes, (tab, newline, carriage_return) in (
        *((_ATTRIBUTE, white) for white in _WHITE_FORMS),
        ((b"&#34;", b"&#39;"), (b"&#x9;", b"&#xA;", b"&#xD;")),  # Go
    ):
        form = _quoted(text, quotes)
        yield form.replace(b"\t", tab).replace(b"\n", newline).replace(b"\r", carriage_return)


def reference_forms(value: bytes) -> Iterator[bytes]:
    """Yield it with references for letters beyond ASCII, also where `&`, `<` and quotes have theirs."""
    if value.isascii():
        return
    text = _text(value)
    written = {value, text, *xml_forms(value), *(_quoted(text, quotes) for quotes in _QUOTES)}
    for form in written:
        try:
            characters = form.decode()
        except UnicodeDecodeError:
            return
        yield characters.encode("ascii", "xmlcharrefreplace")
        for digits in ("&#x%X;", "&#x%x;"):
            yield "".join([char if char.isascii() else digits % ord(char) for char in characters]).encode()


def _text(value: bytes) -> bytes:
    return value.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")


def _quoted(text: bytes, quotes: tuple[bytes, bytes]) -> bytes:
    double, single = quotes
    return text.replace(b'"', double).replace(b"'", single)
