"""Where a canary could have gone: memory, files, database, broker; read while and after runs do their worst."""

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ahocorasick_rs import BytesAhoCorasick

_CHUNK = 16 << 20
_FILE_LIMIT = 64 << 20


@dataclass(frozen=True)
class Finding:
    """A canary, in a form, where it must not be."""

    place: str
    canary: str
    form: str


class Search:
    """Looks for all needles at once."""

    def __init__(self, needles: Mapping[tuple[str, str], bytes]) -> None:
        self._labels = list(needles)
        self._automaton = BytesAhoCorasick(list(needles.values()))
        self._reach = max(map(len, needles.values()))

    def within(self, place: str, chunks: Iterable[bytes]) -> set[Finding]:
        """What is found in a place that is read in chunks, across their boundaries."""
        found: set[int] = set()
        tail = b""
        for chunk in chunks:
            data = tail + chunk
            found |= {number for number, _, _ in self._automaton.find_matches_as_indexes(data, overlapping=True)}
            tail = data[-self._reach :]
        return {Finding(place, *self._labels[number]) for number in found}


def memory(pid: int, kinds: tuple[str, ...] = ()) -> Iterator[bytes]:
    """All memory of a process that can be read, or that of mappings of some kinds (`[heap]`, `` for anonymous)."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            span, rights, _, _, _, *name = line.split(maxsplit=5)
            label = name[0].strip() if name else ""
            if not rights.startswith("r") or label in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                continue
            if kinds and label not in kinds:
                continue
            start, end = (int(word, 16) for word in span.split("-"))
            while start < end:
                mem.seek(start)
                try:
                    data = mem.read(min(_CHUNK, end - start))
                except OSError:  # a page beyond the end of its file
                    break
                if not data:
                    break
                start += len(data)
                yield data


def files(folder: Path, since: float, passed_over: Callable[[str], bool]) -> Iterator[tuple[Path, bytes]]:
    """Names and content of everything below a folder that was changed since then, but what is passed over by path."""
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except OSError:  # gone meanwhile, or nested deeper than a path may be long
            continue
        for entry in entries:
            if passed_over(entry.path):
                continue
            path = Path(entry.path)
            try:
                found = path.lstat()
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                if max(found.st_mtime, found.st_ctime) < since:
                    continue
                content = os.fsencode(path)
                if entry.is_symlink():
                    content += b"\0" + os.fsencode(os.readlink(path))
                elif entry.is_file() and found.st_size < _FILE_LIMIT:
                    content += b"\0" + path.read_bytes()
                yield path, content
            except OSError:
                continue


class Eavesdropper:
    """Everything that is said to an embedded broker, from the broker's own MONITOR."""

    def __init__(self, address: str) -> None:
        password, _, path = address.removeprefix("redis+socket://:").partition("@")
        self._channel = socket.socket(socket.AF_UNIX)
        self._channel.connect(path)
        self._channel.sendall(f"AUTH {password}\r\nMONITOR\r\n".encode())
        self._heard = bytearray()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def heard(self) -> bytes:
        return bytes(self._heard)

    def stop(self) -> bytes:
        self._channel.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._channel.close()
        return self.heard()

    def _listen(self) -> None:
        while data := self._channel.recv(1 << 16):
            self._heard += data


def broker_content(client) -> bytes:  # type: ignore[no-untyped-def]  # redis.Redis, which the tests import late
    """Keys and values of a Redis database."""
    parts: list[object] = []
    for key in client.scan_iter():
        parts.append(key)
        match client.type(key):
            case b"string":
                parts.append(client.get(key))
            case b"list":
                parts += client.lrange(key, 0, -1)
            case b"hash":
                parts.append(client.hgetall(key))
            case b"set":
                parts.append(client.smembers(key))
            case b"zset":
                parts.append(client.zrange(key, 0, -1))
            case other:
                raise AssertionError(f"a key of a kind this test does not read: {other!r}")
    return b"\n".join(part if isinstance(part, bytes) else repr(part).encode() for part in parts)
