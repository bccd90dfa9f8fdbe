"""A program of the worker's user that has what a run might want, and tells afterwards what became of it.

python -I canary.py LAYOUT: makes its files, sockets, keys and children, prints a JSON document with where they are, and
answers each line that it reads with one of what it saw. It ends with its input, and leaves nothing behind.
"""

import contextlib
import ctypes
import json
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_ADD_KEY, _KEYCTL, _SHMGET, _SHMCTL, _IOPRIO_GET = {
    "x86_64": (248, 250, 29, 31, 252),
    "aarch64": (217, 219, 194, 195, 31),
}.get(platform.machine()) or (None,) * 5
_USER_KEYRING, _UNLINK = -4, 9
_VICTIMS = ("kill", "touch")
_FORGED = ("/etc/hosts", "/usr/share")
"""What machines have and every run is given: a file and a folder."""

_CHAIN = 1500
_LIFE = 120  # seconds for a victim whose canary was killed

_libc = ctypes.CDLL(None, use_errno=True)


class Canary:
    """All of it, made anew and taken away at the end."""

    def __init__(self, layout: dict[str, Any]) -> None:
        self.token: str = layout["token"]
        self.layout = layout
        self.came: set[str] = set()
        self._made: list[Path] = []
        self._held = f"{self.token}-in-memory".encode()
        self._buffer = ctypes.create_string_buffer(self._held)
        self._victims = {name: self._victim() for name in _VICTIMS}
        self._paths = {name: str(self._file(Path(path))) for name, path in layout["files"].items()}
        self._paths["shm"] = str(self._file(Path(f"/dev/shm/sealrun-canary-{self.token}")))
        self._sockets = {name: self._listener(Path(folder)) for name, folder in layout["sockets"].items()}
        self._forged: list[socket.socket] = []
        self._forging = Path(layout["folders"]["user"]) / f"f-{self.token[:6]}"
        self._forge()
        self._key = self._add_key()
        self._segment = self._add_segment()
        self._before = self._state()

    def plan(self) -> dict[str, Any]:
        """Where everything is."""
        abstract = f"sealrun-canary-{self.token}"
        self._listen(_bound(socket.AF_UNIX, socket.SOCK_STREAM, f"\0{abstract}"))
        datagrams = Path(self.layout["folders"]["user"]) / "datagram"
        self._made.append(datagrams)
        self._take(_bound(socket.AF_UNIX, socket.SOCK_DGRAM, str(datagrams)))
        tcp = _bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        udp = _bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))
        ports = tcp.getsockname()[1], udp.getsockname()[1]
        self._listen(tcp)
        self._take(udp)
        return {
            "token": self.token,
            "pid": os.getpid(),
            "starts": {str(pid): _started(pid) for pid in self._pids()},
            "address": ctypes.addressof(self._buffer),
            "victims": {name: one.pid for name, one in self._victims.items()},
            "paths": self._paths,
            "folders": self.layout["folders"],
            "sockets": {**self._sockets, "abstract": abstract, "datagram": str(datagrams)},
            "forged": list(_FORGED),
            "key": self._key,
            "shmid": self._segment,
            "tcp": ports[0],
            "udp": ports[1],
            "servers": self.layout.get("servers", []),
            "ours": self.layout.get("ours", {}),
        }

    def _pids(self) -> list[int]:
        return [os.getpid(), *(one.pid for one in self._victims.values()), *self.layout.get("ours", {}).values()]

    def seen(self) -> dict[str, Any]:
        """What became of it."""
        now = self._state()
        return {
            "came": sorted(self.came),
            "killed": self._victims["kill"].poll() is not None,
            **{name: now[name] != before for name, before in self._before.items()},
        }

    def end(self) -> None:
        """Take it all away."""
        for one in self._victims.values():
            one.kill()
            one.wait()
        for path in self._made:
            path.unlink(missing_ok=True)
        shutil.rmtree(self._forging, ignore_errors=True)
        if self._key:
            _libc.syscall(_KEYCTL, _UNLINK, ctypes.c_long(self._key), ctypes.c_long(_USER_KEYRING), 0, 0)
        if self._segment >= 0:
            _libc.syscall(_SHMCTL, self._segment, 0, None)

    def _state(self) -> dict[str, Any]:
        pid = self._victims["touch"].pid
        paths = {name: Path(path) for name, path in self._paths.items()}
        found: dict[str, Any] = {"limits": None, "priority": None}
        with contextlib.suppress(OSError):
            found["limits"] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            nice, scheduler = os.getpriority(os.PRIO_PROCESS, pid), os.sched_getscheduler(pid)
            of_disk = None if _IOPRIO_GET is None else _libc.syscall(_IOPRIO_GET, 1, pid)
            found["priority"] = nice, sorted(os.sched_getaffinity(pid)), scheduler, of_disk
        for name, path in paths.items():
            with contextlib.suppress(OSError):
                about = path.stat()
                found[f"content of {name}"] = path.read_text()
                found[f"mode of {name}"] = about.st_mode, about.st_mtime_ns
        return found

    def _victim(self) -> "subprocess.Popen[bytes]":
        environ = {"SEALRUN_CANARY": f"{self.token}-in-environ"}
        return subprocess.Popen(
            ["/bin/sleep", str(_LIFE)],
            env=environ,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_few_files,
        )

    def _file(self, path: Path) -> Path:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{self.token}-in-file")
            self._made.append(path)
        return path

    def _listener(self, folder: Path) -> str:
        path = folder / f"s-{self.token[:6]}"
        self._listen(_bound(socket.AF_UNIX, socket.SOCK_STREAM, str(path)))
        path.chmod(0o666)
        self._made.append(path)
        return str(path)

    def _forge(self) -> None:
        """Sockets whose names in the kernel's list are those of what is none: a run does as much beside another one."""
        self._forging.mkdir(mode=0o700)
        for number, target in enumerate(_FORGED):
            folder = self._forging / str(number)
            self._replaced(folder, os.path.basename(target))
            folder.symlink_to(os.path.dirname(target))
            line = f"\0{number}-{self.token}\n0: 2 0 0 1 1 1 {target}"
            self._forged.append(_bound(socket.AF_UNIX, socket.SOCK_STREAM, line))
        self._replaced(self._forging / "d", "s")
        (self._forging / "d").symlink_to("l0")
        for number in range(_CHAIN):
            (self._forging / f"l{number}").symlink_to(f"l{number + 1}")

    def _replaced(self, folder: Path, name: str) -> None:
        """Bind a socket in a folder that is then gone, to be another one."""
        folder.mkdir()
        self._forged.append(_bound(socket.AF_UNIX, socket.SOCK_STREAM, str(folder / name)))
        shutil.rmtree(folder)

    def _listen(self, own: socket.socket) -> None:
        own.listen(64)
        threading.Thread(target=self._accept, args=[own], daemon=True).start()

    def _take(self, own: socket.socket) -> None:
        threading.Thread(target=self._receive, args=[own], daemon=True).start()

    def _accept(self, own: socket.socket) -> None:
        while True:
            other, _ = own.accept()
            with other, contextlib.suppress(OSError):
                other.settimeout(2)
                self.came.add(other.recv(64).decode(errors="replace") or "somebody")

    def _receive(self, own: socket.socket) -> None:
        while True:
            self.came.add(own.recv(64).decode(errors="replace"))

    def _add_key(self) -> int:
        if _ADD_KEY is None:
            return 0
        name = f"sealrun-canary-{self.token}".encode()
        text = f"{self.token}-in-key".encode()
        return max(int(_libc.syscall(_ADD_KEY, b"user", name, text, len(text), ctypes.c_long(_USER_KEYRING))), 0)

    def _add_segment(self) -> int:
        return -1 if _SHMGET is None else int(_libc.syscall(_SHMGET, 0, ctypes.c_size_t(4096), 0o1600))


def _bound(family: int, kind: int, address: Any) -> socket.socket:
    own = socket.socket(family, kind)
    own.bind(address)
    return own


def _started(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def _few_files() -> None:
    """A limit that can be told from what it is changed to."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def main() -> None:
    """Make it, and serve until the input ends."""
    canary = Canary(json.loads(sys.argv[1]))
    try:
        print(json.dumps(canary.plan()), flush=True)
        for _ in sys.stdin:
            print(json.dumps(canary.seen()), flush=True)
    finally:
        canary.end()


if __name__ == "__main__":
    main()
