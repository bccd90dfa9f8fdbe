"""Messages that end a worker which trusts them: what a broker may hold, as a table, for both kinds of broker."""

import base64
import json
import struct
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from executor.broker.doorbell import TASK

RUN = "0" * 32
"""A run id that no run has."""

CANARY = "canary-of-a-hostile-body"
"""Stands in most bodies; no log may quote it."""

QUIET = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
NESTED = "[" * 30_000 + "]" * 30_000


@dataclass(frozen=True)
class Message:
    """A message as its sender wants it, whatever the broker: a bell but for what is wrong with it."""

    body: bytes = json.dumps([[RUN], {}, QUIET]).encode()
    content_type: Any = "application/json"
    encoding: Any = "utf-8"
    headers: Any = field(default_factory=lambda: {"task": TASK, "id": str(uuid.uuid4()), "lang": "py"})
    properties: dict[str, Any] = field(default_factory=dict)


def body(*parts: Any) -> bytes:
    return json.dumps(parts).encode()


def heads(**changed: Any) -> dict[str, Any]:
    """The headers of a bell, changed; one that is `...` is left out."""
    plain = {"task": TASK, "id": str(uuid.uuid4()), "lang": "py", "argsrepr": CANARY}
    return {name: value for name, value in (plain | changed).items() if value is not ...}


CALLED = {"task": TASK, "args": [], "kwargs": {}, "options": {}, "subtask_type": None}
ONE = json.dumps({"task": TASK, "id": "1", "args": [RUN], "kwargs": {}}).encode()

MESSAGES: dict[str, Message] = {
    # What it is said to be.
    "type missing": Message(content_type=None),
    "type data": Message(content_type="application/data"),
    "type text": Message(content_type="text/plain"),
    "type pickle": Message(b"cos\nsystem\n(S'exit'\ntR.", content_type="application/x-python-serialize"),
    "type yaml": Message(b"!!python/object/apply:os.abort []", content_type="application/x-yaml"),
    "type msgpack": Message(b"\x91\xc0", content_type="application/x-msgpack"),
    "type unknown": Message(content_type="application/" + "x" * 200),
    "charset unknown": Message(encoding="no-such-charset"),
    "charset utf-16": Message(json.dumps([[RUN], {}, QUIET]).encode("utf-16"), encoding="utf-16"),
    "not utf-8": Message(b'[["\xff\xfe"], {}, {}]'),
    # Headers.
    "headers missing": Message(headers={}),
    "headers missing, data": Message(b"\x00\x01", content_type=None, encoding=None, headers={}),
    "task missing": Message(headers=heads(task=...)),
    "task null": Message(headers=heads(task=None)),
    "task number": Message(headers=heads(task=7)),
    "task list": Message(headers=heads(task=[TASK])),
    "task table": Message(headers=heads(task={"a": 1})),
    "task unknown": Message(headers=heads(task="os.system")),
    "task of celery": Message(headers=heads(task="celery.backend_cleanup")),
    "id missing": Message(headers=heads(id=...)),
    "id null": Message(headers=heads(id=None)),
    "id list": Message(headers=heads(id=[1])),
    "id table": Message(headers=heads(id={})),
    "id huge": Message(headers=heads(id="i" * 60_000)),
    "id with control characters": Message(headers=heads(id="\x1b[2J\n\x00")),
    "header huge": Message(headers=heads(argsrepr="r" * 100_000)),
    "eta garbage": Message(headers=heads(eta="tomorrow")),
    "eta number": Message(headers=heads(eta=1e300)),
    "eta list": Message(headers=heads(eta=[])),
    "eta far": Message(headers=heads(eta="9999-12-31T23:59:59+00:00")),
    "eta early": Message(headers=heads(eta="0001-01-01T00:00:00+14:00")),
    "expires garbage": Message(headers=heads(expires="never")),
    "expires table": Message(headers=heads(expires={})),
    "retries text": Message(headers=heads(retries="many", eta="x")),
    "timelimit text": Message(headers=heads(timelimit="xyz")),
    "timelimit short": Message(headers=heads(timelimit=[1])),
    "timelimit negative": Message(headers=heads(timelimit=[-1, -1])),
    "compression unknown": Message(headers=heads(compression="lzip")),
    "compression list": Message(headers=heads(compression=["gzip"])),
    "compression bomb": Message(zlib.compress(b"\0" * 50_000_000, 1), headers=heads(compression="application/x-gzip")),
    # Protocol 1.
    "protocol 1": Message(ONE, headers={}),
    "protocol 1, number": Message(b"7", headers={}),
    "protocol 1, task list": Message(json.dumps({"task": [], "id": 1}).encode(), headers={}),
    "protocol 1, without id": Message(json.dumps({"task": TASK, "args": [RUN]}).encode(), headers={}),
    "protocol 1, unknown": Message(json.dumps({"task": "x.y", "id": None}).encode(), headers={}),
    "protocol 1, unknown without id": Message(json.dumps({"task": "x.y"}).encode(), headers={}),
    "protocol 1 and 2": Message(json.dumps({"args": 1, "kwargs": 2}).encode()),
    # The body.
    "body empty": Message(b""),
    "body null": Message(b"null"),
    "body number": Message(b"17"),
    "body text": Message(b'"args"'),
    "body true": Message(b"true"),
    "body table": Message(b"{}"),
    "body not JSON": Message(f"[[{CANARY}".encode()),
    "body deep": Message(NESTED.encode()),
    "body of types": Message(b'[[{"__type__": "datetime", "__value__": "x"}], {}, {}]'),
    "body of types, list": Message(b'[[{"__type__": [], "__value__": {}}], {}, {}]'),
    "body one part": Message(body([RUN])),
    "body four parts": Message(body([RUN], {}, QUIET, 1)),
    "args null": Message(body(None, {}, QUIET)),
    "args text": Message(body(RUN, {}, QUIET)),
    "args table": Message(body({"run_id": RUN}, {}, QUIET)),
    "args none": Message(body([], {}, QUIET)),
    "args two": Message(body([RUN, RUN], {}, QUIET)),
    "kwargs list": Message(body([RUN], [], QUIET)),
    "kwargs wrong": Message(body([], {"other": RUN}, QUIET)),
    "kwargs more": Message(body([RUN], {"app": 1}, QUIET)),
    "embed null": Message(body([RUN], {}, None)),
    "embed list": Message(body([RUN], {}, [1])),
    "callbacks": Message(body([RUN], {}, {**QUIET, "callbacks": [CALLED]})),
    "callbacks garbage": Message(body([RUN], {}, {**QUIET, "callbacks": 7, "errbacks": "x"})),
    "errbacks": Message(body([RUN], {}, {**QUIET, "errbacks": [{"task": 1}]})),
    "chain garbage": Message(body([RUN], {}, {**QUIET, "chain": 5})),
    "chord": Message(body([RUN], {}, {**QUIET, "chord": CALLED}), headers=heads(group="g")),
    "id null in args": Message(body([None], {}, QUIET)),
    "id number in args": Message(body([10**400], {}, QUIET)),
    "id no id": Message(body([CANARY], {}, QUIET)),
    "id too long": Message(body(["0" * 33], {}, QUIET)),
    "id capital": Message(body(["A" * 32], {}, QUIET)),
    "id with a line feed": Message(body([RUN[:31] + "\n"], {}, QUIET)),
    "id with null": Message(body(["\x00" * 32], {}, QUIET)),
    "id surrogate": Message(b'[["' + rb"\udc00" * 32 + b'"], {}, {}]'),
    "id digits": Message(body(["٣" * 32], {}, QUIET)),
    "body 64 MB": Message(b'[["' + b"0" * 64_000_000 + b'"], {}, {}]'),
}

HARMLESS: dict[str, Message] = {
    "another id": Message(),
    "reply_to": Message(properties={"reply_to": "\x00anywhere", "correlation_id": "x" * 200}),
    "group": Message(headers=heads(group="g", group_index="x", root_id="r", parent_id="\n")),
    "unread headers": Message(
        headers=heads(shadow="\x1b[31m", retries=-1, ignore_result=False, stamped_headers=["x"], stamps=7, origin=1)
    ),
    "priority": Message(properties={"priority": 9}),
}
"""What may ring, as anybody on the broker may: for a run that there is not. Nothing else of it is read."""


def envelope(one: Message, queue: str, **changed: Any) -> bytes:
    """A message as kombu keeps it in a list of Redis; members changed, or left out where they are `...`."""
    whole = {
        "body": base64.b64encode(one.body).decode(),
        "content-type": one.content_type,
        "content-encoding": one.encoding,
        "headers": one.headers,
        "properties": {
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": queue},
            "body_encoding": "base64",
            "priority": 0,
            **one.properties,
        },
    }
    return json.dumps({name: value for name, value in (whole | changed).items() if value is not ...}).encode()


def envelopes(queue: str) -> Iterator[tuple[str, bytes]]:
    """What lies in a list of Redis and is no message, or one that cannot be read."""
    plain = {
        "delivery_tag": "t",
        "delivery_info": {"exchange": "", "routing_key": queue},
        "body_encoding": "base64",
    }
    yield "nothing", b""
    yield "no JSON", CANARY.encode()
    yield "no text", b"\xff\xfe\x00\x80"
    yield "deep", NESTED.encode()
    yield "of a type", b'{"__type__": "uuid", "__value__": {"hex": 1, "bogus": 2}}'
    for word in (b"null", b"[]", b"7", b"true", b'"x"', b"{}", b'["properties"]', b"NaN"):
        yield f"{word.decode()}", word
    for name in ("properties", "body", "headers", "content-type", "content-encoding"):
        yield f"without {name}", envelope(Message(), queue, **{name: ...})
        for wrong in (None, 7, [], "x", {}):
            yield f"{name} {wrong!r}", envelope(Message(), queue, **{name: wrong})
    for name in plain:
        for wrong in (..., None, 7, True, [], {}, "no-such-codec"):
            if (name, wrong) == ("delivery_tag", "no-such-codec"):
                continue  # any text is a tag
            changed = {key: value for key, value in (plain | {name: wrong}).items() if value is not ...}
            yield f"{name} {wrong!r}", envelope(Message(), queue, properties=changed)
    for name in ("exchange", "routing_key"):
        for wrong in (..., None, 7, {}):
            info = {"exchange": "", "routing_key": queue} | {name: wrong}
            info = {key: value for key, value in info.items() if value is not ...}
            yield f"{name} {wrong!r}", envelope(Message(), queue, properties={**plain, "delivery_info": info})
    yield "base64 damaged", envelope(Message(), queue, body="W1siM!")
    yield "base64 cut", envelope(Message(), queue, body="W1siM")
    yield "base64 not ASCII", envelope(Message(), queue, body="é" * 8)
    yield "tag huge", envelope(Message(), queue, properties={**plain, "delivery_tag": "t" * 60_000})


def frames() -> Iterator[tuple[str, bytes, bytes]]:
    """Names, property lists as they go over the wire to RabbitMQ, and bodies: what its client cannot take apart."""

    def table(content: bytes) -> bytes:
        return struct.pack(">HI", 1 << 13, len(content)) + content

    def text(name: bytes, kind: bytes) -> bytes:
        return bytes([len(name)]) + name + kind

    plain = Message().body
    yield "no properties", b"\0\0", plain
    yield "no properties, empty", b"\0\0", b""
    yield "content type no text", struct.pack(">H", 1 << 15) + b"\x02\xff\xfe", plain
    yield "timestamp far", struct.pack(">HQ", 1 << 6, 2**63), plain
    yield "header timestamp far", table(text(b"when", b"T") + struct.pack(">Q", 2**64 - 1)), plain
    yield "header timestamp far, empty", table(text(b"when", b"T") + struct.pack(">Q", 2**64 - 1)), b""
    yield "header name no text", table(text(b"\xff\xfe", b"V")), plain
    yield "header no text", table(text(b"task", b"S") + struct.pack(">I", 2) + b"\xff\xfe"), plain
    yield "header bytes", table(text(b"task", b"x") + struct.pack(">I", 4) + b"\0\1\2\3"), plain
    yield "header decimal", table(text(b"task", b"D") + struct.pack(">Bi", 255, 7)), plain
    deep = text(b"", b"V")
    for _ in range(3000):
        deep = text(b"", b"F") + struct.pack(">I", len(deep)) + deep
    yield "headers deep", table(deep), plain
