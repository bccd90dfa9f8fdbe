"""How shells quote a value. Every form leaves out the quotes themselves."""

from collections.abc import Iterator

from executor.masking.percent import LETTERS

# What bash's `printf %q` puts a backslash before; `#` and `~` only in some places, see _printf_q.
_BACKSLASHED = frozenset(b" !\"$&'()*,;<>?[\\]^`{|}")
_PRINTF_Q = tuple(b"\\" + bytes([byte]) if byte in _BACKSLASHED else bytes([byte]) for byte in range(256))
_IN_DOUBLE_QUOTES = tuple(b"\\" + bytes([byte]) if byte in b'"$\\`' else bytes([byte]) for byte in range(256))
_ANSI_C_NAMES = {7: b"\\a", 8: b"\\b", 9: b"\\t", 10: b"\\n", 11: b"\\v", 12: b"\\f", 13: b"\\r", 27: b"\\E"}
_ANSI_C_NAMES |= {0x27: b"\\'", 0x5C: b"\\\\"}
_ANSI_C = tuple(_ANSI_C_NAMES.get(byte, bytes([byte]) if 32 <= byte < 127 else b"\\%03o" % byte) for byte in range(256))
_ANSI_C_WIDE = _ANSI_C[:128] + tuple(bytes([byte]) for byte in range(128, 256))
_SHELL_SAFE = LETTERS + b"_-.+:@%/="


def shell_forms(value: bytes, thorough: bool) -> Iterator[bytes]:
    """Yield it as bash, dash and `shlex.quote` write it."""
    if not value.translate(None, _SHELL_SAFE):
        return
    yield value.replace(b"'", b"'\"'\"'")  # shlex.quote, dash
    yield value.replace(b"'", b"'\\''")  # bash: set, set -x, ${NAME@Q}
    yield b"".join(map(_PRINTF_Q.__getitem__, value))
    if b"#" in value[:1] or b"~" in value:
        yield _printf_q(value)
    if not value.isascii() or min(value) < 0x20 or 0x7F in value:
        yield b"".join(map(_ANSI_C.__getitem__, value))
        yield b"".join(map(_ANSI_C_WIDE.__getitem__, value))
    if thorough:
        yield b"".join(map(_IN_DOUBLE_QUOTES.__getitem__, value))  # bash: export -p, declare -p


def _printf_q(value: bytes) -> bytes:
    """Write it as `printf %q`, which also escapes `#` at the start and `~` at the start or after `:` or `=`."""
    parts = []
    before = -1
    for byte in value:
        special = (byte == 0x23 and before == -1) or (byte == 0x7E and (before == -1 or before in b":="))
        parts.append(b"\\" + bytes([byte]) if special else _PRINTF_Q[byte])
        before = byte
    return b"".join(parts)
