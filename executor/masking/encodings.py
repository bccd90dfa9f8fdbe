"""The forms in which ordinary tools print a value: base64, hex, percent, markup, quoted, and some of one in another.

Every form leaves out its quotes, so that the masker finds it inside something longer, too. No form goes through `re`
or any other cache that would keep a value alive. Most secrets are letters and digits with a few odd characters: what
a form would change is looked for first, and a form that changes nothing is not built.
"""

from binascii import b2a_base64, hexlify
from collections.abc import Callable, Iterable, Iterator

from executor.masking import literals, markup, percent
from executor.masking.shells import shell_forms

LONG = 8 << 10  # bytes; longer values get the common forms only: ten of 64 KiB have to fit in 64 MB

_ONE_LINE = 48  # bytes, of the shorter lines of base64
_ALIGNMENTS = (
    (b"", 0, 0),
    (b"\0", 2, 8),
    (b"\0\0", 3, 16),
)  # bytes before the value, characters they take part in, bits
_URL_SAFE = bytes.maketrans(b"+/", b"-_")

_WHITE = frozenset(b"\t\n\r")
_BEYOND = frozenset(range(0x80, 0x100))
_CONTROL = frozenset({*range(0x20), 0x7F} - _WHITE)
_ESCAPED = _BEYOND | _CONTROL | _WHITE | frozenset(b"\"'\\")  # by JSON or repr
_NOT_IN_MAIL = _BEYOND | _CONTROL | frozenset(b"=")
_NOT_IN_COOKIES = _BEYOND | _CONTROL | _WHITE | frozenset(b",;")
_MORE_IN_JSON = frozenset(b"/<>&=+`")  # by some who write JSON


def encoded(value: bytes) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Yield the forms of `value` by name; some are equal, and the value itself may be missing."""
    size = len(value)
    thorough = size <= LONG
    yield "base64", _base64_forms(value)
    if thorough and size > _ONE_LINE:
        yield "base64 in lines", _wrapped_base64_forms(value)
    digits = hexlify(value)
    yield "hex", (digits, digits.upper())
    if is_long_binary(value):
        yield "repr", (repr(value)[2:-1].encode(),)
        return
    if thorough:
        yield "percent-encoded", percent.bytes_forms(value)
    if odd_bytes := percent.odd_characters(value):
        odd = frozenset(odd_bytes)
        forms = percent.PercentForms(value, odd_bytes, thorough)
        yield "percent-encoded", forms.all()
        yield from _quoted_forms(value, odd, thorough)
        if thorough:
            yield from _rare_forms(value, forms, odd)


def _quoted_forms(value: bytes, odd: frozenset[int], thorough: bool) -> Iterator[tuple[str, Iterable[bytes]]]:
    yield "quoted for a shell", shell_forms(value, thorough)
    if not odd.isdisjoint(markup.SPECIAL + b"+"):
        yield "HTML", markup.html_forms(value)
    escaped = not odd.isdisjoint(_ESCAPED)
    if escaped or not odd.isdisjoint(_MORE_IN_JSON):
        yield "JSON", literals.json_forms(value, thorough)
    if escaped:
        yield "repr", literals.repr_forms(value, thorough)
    if 0x22 in odd:
        yield "CSV", (value.replace(b'"', b'""'),)
    if not odd.isdisjoint(b"'\\"):
        yield "SQL or YAML", literals.sql_forms(value)


def _rare_forms(
    value: bytes, forms: percent.PercentForms, odd: frozenset[int]
) -> Iterator[tuple[str, Iterable[bytes]]]:
    yield "base64 of percent-encoded", _each(_base64_forms, forms.as_client())
    if not odd.isdisjoint(_BEYOND) and not _is_text(value):
        return  # the rest is of text, and bytes would have very many of these forms
    yield "percent-encoded twice", forms.twice()
    if not odd.isdisjoint(b"%$"):
        yield "doubled % or $", literals.doubled_forms(value)
    if not odd.isdisjoint(b"&'"):
        yield "HTML of percent-encoded", _each(markup.in_page, forms.in_markup())
    if not odd.isdisjoint(_NOT_IN_MAIL):
        yield "quoted-printable", (literals.quoted_printable(value),)
    if not odd.isdisjoint(_NOT_IN_COOKIES):
        yield "cookie", literals.cookie_forms(value)
    if not odd.isdisjoint(markup.SPECIAL):
        yield from _nested_forms(value, "HTML", markup.in_page(value))
    if odd.isdisjoint(_ESCAPED):
        return  # the rest is for values that JSON or repr changes
    yield "XML", markup.xml_forms(value)
    yield "character references", markup.reference_forms(value)
    if not odd.isdisjoint(_BEYOND | _CONTROL):
        yield "string literal", literals.program_forms(value)
    yield from _nested_forms(value, "JSON", literals.json_texts(value))
    yield from _nested_forms(value, "repr", literals.repr_texts(value))


def _nested_forms(value: bytes, name: str, written: Iterable[bytes]) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Yield forms of a form that changed the value: what a log, a page or a URL makes of it."""
    forms = [form for form in dict.fromkeys(written) if form != value]
    if not forms:
        return
    yield f"JSON of {name}", _each(literals.json_texts, forms)
    yield f"repr of {name}", _each(literals.repr_texts, forms)
    yield f"HTML of {name}", _each(markup.in_page, forms)
    if name == "JSON":
        yield "CSV of JSON", [form.replace(b'"', b'""') for form in forms]
        yield "SQL or YAML of JSON", [form.replace(b"'", b"''") for form in forms]
        yield "base64 of JSON", _each(_base64_forms, forms)
        yield "percent-encoded of JSON", _each(_once_percent_encoded, forms)


def _once_percent_encoded(form: bytes) -> list[bytes]:
    return percent.PercentForms(form, percent.odd_characters(form), thorough=False).once()


def _each(form: Callable[[bytes], Iterable[bytes]], values: Iterable[bytes]) -> Iterator[bytes]:
    for value in values:
        yield from form(value)


def is_long_binary(value: bytes) -> bool:
    """Tell whether a value gets base64, hex and repr only: every other form takes several times its size."""
    return len(value) > LONG and not _is_text(value)


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _base64_forms(value: bytes) -> list[bytes]:
    """Return a form for each of the value's three alignments, in both alphabets.

    The characters at both ends depend on the neighbouring bytes, so they are left out, and so is the padding: with
    them a form would miss the value inside anything longer, and `echo $SECRET | base64` already adds a newline.
    """
    found = []
    size = 8 * len(value)
    for before, start, more in _ALIGNMENTS:
        fixed = b2a_base64(before + value, newline=False)[start : (size + more) // 6]
        found.append(fixed)
        if 0x2B in fixed or 0x2F in fixed:  # `+` or `/`; bytes are found in bytes more slowly
            found.append(fixed.translate(_URL_SAFE))
    return found


def _wrapped_base64_forms(value: bytes) -> Iterator[bytes]:
    """Yield it as `base64` and MIME (76 columns) or openssl and PEM (64) break lines, the value at the start."""
    text = b2a_base64(value, newline=False)[: 8 * len(value) // 6]
    for columns in (76, 64):
        if len(text) > columns:
            lines = [text[at : at + columns] for at in range(0, len(text), columns)]
            yield b"\n".join(lines)
            yield b"\r\n".join(lines)
