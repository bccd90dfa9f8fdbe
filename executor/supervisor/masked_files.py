"""Files of a run that are masked where they hold a secret, and not withheld: an executed notebook and the page of it.

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

Masking = Callable[[bytes, Masker], "bytes | None"]
"""Returns a file's bytes without secrets, the same ones if there are none; None if it cannot be masked."""

_DEPTH = 64
_TAG = re.compile(r"<[^<>]*>")


def of_target(target: Mapping[str, Any]) -> dict[str, Masking]:
    """How to mask what a target leaves, by the name that the file has."""
    if target["kind"] != "notebook":
        return {}
    name = os.path.basename(target["path"])
    return {name: notebook, f"{os.path.splitext(name)[0]}.html": page}


def notebook(data: bytes, masker: Masker) -> bytes | None:
    """Mask a notebook text by text, so that it stays one."""
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
    """Mask a page of HTML; what a reader sees of it, without tags and with its entities resolved, is searched, too."""
    anew = masker.mask(data)
    try:
        text = anew.decode()
    except UnicodeDecodeError:
        return data if anew == data and not masker.finds([data]) else None
    seen = html.unescape(_TAG.sub("", text)).encode(errors="replace")
    if masker.finds([anew]) or masker.finds([seen]) or (anew != data and "\0" in text):
        return None
    return anew
