"""Files of a run that are not masked byte for byte: an executed notebook, and pages, which a reader sees without tags.

What is masked is searched once more, in every form; a file in which a secret is left is not given at all.
"""

import html
import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from executor.masking.masker import Masker

MASKED_LIMIT = 32 << 20
"""Bytes of a file that is masked; a larger one is given or withheld as it is."""

NOTEBOOK_LIMIT = 8 << 20
"""Bytes of a notebook that is parsed: its text is in memory several times then, in up to four bytes a character."""

MARKS_LIMIT = 1 << 20
"""Marks that may begin a value of a notebook, or a tag or an entity of a page: each becomes an object, of a hundred
times its bytes, and a supervisor is to stay small and listen soon again."""

Masking = Callable[[bytes, Masker], "bytes | None"]
"""Returns a file's bytes without secrets, the same ones if there are none; None if it holds one that cannot be masked.
Raises ValueError, or what else hostile content makes Python raise, if it cannot be searched."""

_DEPTH = 64
_TAG = re.compile(r"<[^<>]*>")
_PAGES = (".html", ".htm", ".xhtml", ".svg")


def of_target(target: Mapping[str, Any]) -> dict[str, Masking]:
    """How to mask what a target leaves, by the name that the file has."""
    if target["kind"] != "notebook":
        return {}
    name = os.path.basename(target["path"])
    return {name: notebook, f"{os.path.splitext(name)[0]}.html": page}


def of_name(name: str) -> Masking | None:
    """How to mask a file in which a secret was found, by its name; None: byte for byte."""
    return page if name.lower().endswith(_PAGES) else None


def notebook(data: bytes, masker: Masker) -> bytes | None:
    """Mask a notebook text by text, so that it stays one. What would take too much is given or withheld as it is."""
    if len(data) > NOTEBOOK_LIMIT or sum(map(data.count, (b"[", b"{", b",", b":"))) > MARKS_LIMIT:
        return None if masker.finds([data]) else data
    try:
        book = json.loads(data)
        masked = masker.mask_json(book, _DEPTH)
    except (ValueError, TypeError, RecursionError):
        return None if masker.finds([data]) else data
    if masked == book and not masker.finds([data]):
        return data
    anew = json.dumps(masked, indent=1, ensure_ascii=False).encode(errors="replace") + b"\n"
    return None if masker.finds([anew]) else anew


def page(data: bytes, masker: Masker) -> bytes | None:
    """Mask a page of HTML, and search what a reader sees of it, without tags and with its entities resolved.

    Raises:
        ValueError: what a reader sees cannot be told: it has too many tags and entities, or one of too many digits.
    """
    anew = masker.mask(data)
    try:
        text = anew.decode()
    except UnicodeDecodeError:
        return data if anew == data and not masker.finds([data]) else None
    if text.count("<") + text.count("&") > MARKS_LIMIT:
        raise ValueError("it has too many tags and entities")
    seen = html.unescape(_TAG.sub("", text)).encode(errors="replace")
    if masker.finds([anew]) or masker.finds([seen]) or (anew != data and "\0" in text):
        return None
    return anew
