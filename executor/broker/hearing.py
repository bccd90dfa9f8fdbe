"""What of a message is a bell, and what becomes of one that is none.

Whoever reaches the broker can put anything into a queue, and Celery and kombu raise for much of it in the middle of a
worker. So a message is read here first, by what a bell has, not by what is known to be wrong.
"""

import json
import logging
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from executor.broker.doorbell import TASK, is_run_id

logger = logging.getLogger("sealrun")

LONGEST = 64 * 1024
"""Bytes that a bell may have with all its headers; one of ours has about 1,000."""

_TASK_ID = re.compile(r"[\w.:-]{1,255}", re.ASCII)
_NEVER = ("eta", "expires", "compression")
"""Headers that a bell does not have, or only as null."""


@dataclass
class Watch:
    """The queues that a worker consumes, and what it drops. In those of `ours`, None for all, bells alone belong."""

    consumed: Collection[str]
    ours: Collection[str] | None = None
    dropped: int = field(default=0, init=False)

    def is_ours(self, queue: str | None) -> bool:
        """Whether what is in a queue has to be a bell."""
        return self.ours is None or queue in self.ours

    def drop(self, queue: str | None, why: str, size: int | None) -> None:
        """Tell, once, that a message is no more; nothing of what its sender wrote is told."""
        self.dropped += 1
        long = "of unknown size" if size is None else f"{size} byte{'s' * (size != 1)}"
        where = queue or "the broker"
        logger.warning("dropped a message from %.100s: %s, %s (%d so far)", where, why, long, self.dropped)


def unforeseen(error: Exception) -> str:
    """Why a message was dropped that something raised for. Its words may quote the message; its class does not."""
    return f"it cannot be read ({type(error).__name__})"


def fault_of(message: Any) -> str | None:
    """Why a message is no bell; None for one."""
    try:
        return _fault_of(message)
    except Exception as error:  # noqa: BLE001  # whatever it is made of, it is no bell
        return unforeseen(error)


def reduce_to_bell(message: Any) -> None:
    """Leave nothing in a bell for Celery to read but the run's id: its other headers may be anything."""
    (run_id,) = json.loads(_text(message.body))[0]
    message.headers = {"lang": "py", "task": TASK, "id": message.headers["id"]}
    message.properties = {}
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message.body = json.dumps([[run_id], {}, {}]).encode()


def _fault_of(message: Any) -> str | None:
    headers, body = message.headers, message.body
    if not isinstance(headers, dict) or not headers:
        return "it has no headers"
    if headers.get("task") != TASK:
        return "it names another task" if "task" in headers else "it names no task"
    task_id = headers.get("id")
    if not (isinstance(task_id, str) and _TASK_ID.fullmatch(task_id)):
        return "its id is none"
    limits = headers.get("timelimit")
    if any(headers.get(name) is not None for name in _NEVER) or limits not in (None, [None, None]):
        return "it is to be delayed, limited or unpacked"
    if message.content_type != "application/json" or str(message.content_encoding).lower() != "utf-8":
        return "its content is not said to be JSON in UTF-8"
    if not isinstance(body, str | bytes | memoryview) or len(body) + len(str(headers)) > LONGEST:
        return "it is too long" if body else "it has no body"
    try:
        content = json.loads(_text(body))
    except (ValueError, RecursionError):
        return "its body is no JSON"
    return None if _rings(content) else "its body is not a run's id alone"


def _rings(content: Any) -> bool:
    """Whether it is `[[id], {}, {…}]`, as Celery writes it, without callbacks, chains and chords."""
    if not isinstance(content, list) or len(content) != 3:
        return False
    args, named, embedded = content
    return (
        isinstance(args, list)
        and len(args) == 1
        and is_run_id(args[0])
        and named == {}
        and isinstance(embedded, dict)
        and not any(embedded.values())
    )


def _text(body: str | bytes | memoryview) -> str:
    return body if isinstance(body, str) else bytes(body).decode()
