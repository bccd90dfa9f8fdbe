"""The search itself, before anything is concluded from what it does not find."""

import base64
import json
import os
import shlex
import subprocess
import urllib.parse

import pytest

from tests.leaks.canaries import Canaries, forms
from tests.leaks.evidence import Finding, Search

VALUES = ["hunter2-prod-key", "with 'both' \"quotes\" & $more/é\\", "two\nlines of it"]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("before", [b"", b"a", b"bc", b"Basic user:"])
@pytest.mark.parametrize("after", [b"", b"\n", b"\xff\xff"])
def test_base64_is_found_wherever_it_stands(value: str, before: bytes, after: bytes) -> None:
    """Whatever is encoded together with a value, one of its base64 forms stands in the outcome."""
    search = Search({("canary", form): needle for form, needle in forms(value.encode()).items()})
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert search.within("", [encode(before + value.encode() + after)])


@pytest.mark.parametrize("value", VALUES)
def test_what_tools_print_is_found(value: str) -> None:
    """The other listed forms, as the tools themselves make them."""
    search = Search({("canary", form): needle for form, needle in forms(value.encode()).items()})
    printed = {
        "raw": f"a{value}b",
        "hex": value.encode().hex(),
        "HEX": value.encode().hex().upper(),
        "percent": urllib.parse.urlencode({"a": value}),
        "JSON": json.dumps({"a": value}),
        "repr": repr({"a": value}),
        "bytes": repr([value.encode()]),
        "shell": shlex.join(["echo", value]),
        "set -x": subprocess.run(
            ["sh", "-xc", ': "$V"'], env={"V": value, "PATH": os.defpath}, capture_output=True, text=True
        ).stderr,
    }
    assert [name for name, text in printed.items() if not search.within("", [text.encode()])] == []


def test_across_chunks() -> None:
    """A needle that is read in two halves is found."""
    needles = Canaries().needles()
    for (canary, form), needle in needles.items():
        middle = len(needle) // 2
        chunks = [b"x" * 100 + needle[:middle], needle[middle:] + b"y" * 100]
        assert Finding("here", canary, form) in Search(needles).within("here", chunks)
    assert Search(needles).within("here", [b"nothing of it"]) == set()
