"""Secrets to look for, and every form in which a tool may print one.

Written from the tools' side and without a look at the product's encodings: a form that both forget would be
forgotten twice.
"""

import base64
import html
import json
import secrets
import shlex
import urllib.parse
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Canaries:
    """Six secrets of the kinds people have; what must not be found of them is in `needles`."""

    word: str = field(default_factory=lambda: secrets.token_hex(10))

    @property
    def plain(self) -> str:
        return f"plain/{self.word}+\"quoted\" & 'so' $on é"

    @property
    def member(self) -> str:
        return f'member-{self.word}/"x"+ü'

    @property
    def password(self) -> str:
        return f"pass {self.word}@/:%é"

    @property
    def lines(self) -> list[str]:
        return [base64.b64encode(f"{number}{self.word * 2}".encode()).decode()[:48] for number in range(3)]

    @property
    def key_id(self) -> str:
        return f"AKIA{self.word.upper()[:16]}"

    @property
    def key(self) -> str:
        return f"lake/{self.word}+key=="

    @property
    def line_of_a_file(self) -> str:
        return base64.b64encode(f"file{self.word * 2}".encode()).decode()[:48]

    @property
    def of_files(self) -> dict[str, bytes]:
        """The secret that runs find as a file."""
        return {"CERT": f"-----BEGIN TEST FILE-----\n{self.line_of_a_file}\n".encode() + b"." * 100_000}

    def values(self) -> dict[str, bytes]:
        """The secrets as a project has them."""
        document = json.dumps({"type": "service_account", "private": self.member}, ensure_ascii=False)
        key = "\n".join(["-----BEGIN TEST KEY-----", *self.lines, "-----END TEST KEY-----", ""])
        url = f"postgresql://shop:{urllib.parse.quote(self.password, safe='')}@db.internal:5432/shop"
        lake = json.dumps({"aws_access_key_id": self.key_id, "aws_secret_access_key": self.key})
        texts = {"PLAIN": self.plain, "ACCOUNT": document, "DATABASE": url, "KEY": key, "LAKE": lake}
        return {name: text.encode() for name, text in texts.items()}

    def needles(self) -> dict[tuple[str, str], bytes]:
        """(canary, form) to the bytes that betray it."""
        cores = {
            "plain": self.plain,
            "member": self.member,
            "password": self.password,
            "password as in the URL": urllib.parse.quote(self.password, safe=""),
            "key id of a source": self.key_id,
            "key of a source": self.key,
            "line of a file": self.line_of_a_file,
            **{f"line {number}": line for number, line in enumerate(self.lines)},
        }
        wholes = {f"whole {name}": value.decode() for name, value in self.values().items()}
        return {
            (name, form): needle
            for name, core in (cores | wholes).items()
            for form, needle in forms(core.encode()).items()
        }


def forms(value: bytes) -> dict[str, bytes]:
    """Form to bytes; equal ones are listed once."""
    text = value.decode()
    found: dict[str, bytes] = {"raw": value}
    for alignment in range(3):
        for alphabet, encode in (("standard", base64.b64encode), ("url", base64.urlsafe_b64encode)):
            found[f"base64 {alphabet}, {alignment} bytes before it"] = _fixed(value, alignment, encode)
    found |= {"hex": value.hex().encode(), "HEX": value.hex().upper().encode()}
    for name, escaped in (
        ("percent", urllib.parse.quote(text, safe="")),
        ("percent, slash kept", urllib.parse.quote(text)),
        ("percent, form", urllib.parse.quote_plus(text)),
        ("JSON", json.dumps(text)[1:-1]),
        ("JSON, not escaped", json.dumps(text, ensure_ascii=False)[1:-1]),
        ("repr", repr(text)[1:-1]),
        ("repr of bytes", repr(value)[2:-1]),
        ("shell", shlex.quote(text).strip("'")),
        ("shell, bash", text.replace("'", "'\\''")),
        ("percent twice", urllib.parse.quote(urllib.parse.quote(text, safe=""), safe="")),
        ("HTML", html.escape(text)),
        ("XML", html.escape(text, quote=False).encode("ascii", "xmlcharrefreplace").decode()),
        ("CSV", text.replace('"', '""')),
        ("SQL", text.replace("'", "''")),
        ("JSON of JSON", json.dumps(json.dumps(text)[1:-1])[1:-1]),
    ):
        found[name] = escaped.encode()
    return {form: needle for form, needle in found.items() if form == "raw" or needle != value}


def _fixed(value: bytes, before: int, encode) -> bytes:  # type: ignore[no-untyped-def]  # b64encode, urlsafe_b64encode
    """The characters of base64 that are the same whatever stands around the value."""
    one = encode(b"\x00" * before + value + b"\x00" * 3).rstrip(b"=")
    other = encode(b"\xff" * before + value + b"\xff" * 3).rstrip(b"=")
    same = [place for place in range(min(len(one), len(other))) if one[place] == other[place]]
    # What surrounds the value differs in every bit, so the fixed characters are one unbroken run.
    assert same == list(range(same[0], same[-1] + 1))
    return one[same[0] : same[-1] + 1]
