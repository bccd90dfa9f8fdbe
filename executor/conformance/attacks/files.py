"""Files: what is not the run's to read, to write, or to leave behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import socket
import stat
import struct
import subprocess
import time
from typing import Any

from .kit import attack, call, first, reads

Plan = dict[str, Any]
Got = tuple  # of a verdict and how
SETUID = ("/usr/bin/sudo", "/usr/bin/su", "/bin/su", "/usr/bin/passwd", "/bin/ping", "/usr/bin/newgrp")


def had(*paths: str) -> Got:
    """Whether one of them is read, or seen in the list of its folder."""
    got, how = reads(*paths)
    for path in paths:
        try:
            if os.path.basename(path) in os.listdir(os.path.dirname(path)):
                return True, how if got else f"listed {os.path.basename(path)}"
        except OSError:
            continue
    return got, how


@attack("key-file")
def key_file(plan: Plan) -> Got:
    return had(plan["paths"]["key"], plan["paths"]["home"])


@attack("workers-home")
def workers_home(plan: Plan) -> Got:
    return had(plan["paths"]["user"])


@attack("other-run")
def other_run(plan: Plan) -> Got:
    return had(plan["paths"]["other"])


@attack("source-cache")
def source_cache(plan: Plan) -> Got:
    return had(plan["paths"]["cache"])


@attack("write-outside")
def write_outside(plan: Plan) -> Got:
    def append() -> None:
        with open(plan["paths"]["user"], "ab") as file:
            file.write(b"written")

    return first({"appended": append})


@attack("mode-outside")
def mode_outside(plan: Plan) -> Got:
    path = plan["paths"]["modes"]
    return first({"chmod": lambda: os.chmod(path, 0o644), "utime": lambda: os.utime(path, (1, 1))})


@attack("write-source")
def write_source(plan: Plan) -> Got:
    """Where the run has a layer of its own above it, this works in there; the truth is outside."""

    def write() -> None:
        with open(plan["paths"]["source"], "w") as file:
            file.write("written")

    first({"written": write})
    return False, "as it was"


@attack("write-system")
def write_system(plan: Plan) -> Got:
    def made(folder: str) -> None:
        path = f"{folder}/.sealrun-conformance-{os.getpid()}"
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.unlink(path)

    return first(
        {one: lambda one=one: made(one) for one in ("/usr", "/usr/local/lib", "/etc", "/opt", "/bin", "/boot")}
    )


@attack("proc-sys")
def proc_sys(plan: Plan) -> Got:
    """Opened to be written, and nothing is."""
    paths = ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger")
    paths += ("/sys/kernel/mm/ksm/run", "/proc/sys/user/max_user_namespaces")
    return first({one: lambda one=one: os.close(os.open(one, os.O_WRONLY)) for one in paths})


@attack("devices")
def devices(plan: Plan) -> Got:
    own = os.path.join(os.environ["TMPDIR"], "device")
    paths = ["/dev/mem", "/dev/kmem", "/dev/port", "/dev/kvm", "/dev/fuse"]
    with open("/proc/partitions") as file:
        paths += [f"/dev/{line.split()[3]}" for line in file if len(line.split()) == 4 and line.split()[0].isdigit()]
    ways: dict[str, Any] = {one: lambda one=one: os.close(os.open(one, os.O_RDONLY)) for one in paths if one}
    ways["made one"] = lambda: os.mknod(own, 0o600 | stat.S_IFCHR, os.makedev(1, 1))
    ways["made a block device"] = lambda: os.mknod(own, 0o600 | stat.S_IFBLK, os.makedev(254, 0))
    return first(ways)


@attack("file-handles")
def file_handles(plan: Plan) -> Got:
    """By a handle a file is opened without a path, past all that is done with paths."""

    def opened() -> int:
        handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0) + bytes(128))
        mount = ctypes.c_int()
        call("name_to_handle_at", -100, b"/", handle, ctypes.byref(mount), 0)
        return call("open_by_handle_at", os.open("/", os.O_RDONLY), handle, os.O_RDONLY)

    return first({"opened": opened})


@attack("links")
def links(plan: Plan) -> Got:
    """Left among the run's files; whether what they lead to comes with them is told outside."""
    root = os.environ["SEALRUN_OUTPUT_DIR"]
    for number, goal in enumerate(
        (plan["paths"]["key"], plan["paths"]["user"], "/etc/shadow", plan["folders"]["user"])
    ):
        for kind, make in (("symlink", os.symlink), ("link", os.link)):
            with contextlib.suppress(OSError):
                make(goal, os.path.join(root, f"{kind}-{number}"))
    for make_odd in (
        lambda: os.mkfifo(os.path.join(root, "fifo")),
        lambda: socket.socket(socket.AF_UNIX).bind(os.path.join(root, "socket")),
        lambda: os.mknod(os.path.join(root, "device"), 0o600 | stat.S_IFCHR, os.makedev(1, 1)),
    ):
        with contextlib.suppress(OSError):
            make_odd()
    return False, "left for the supervisor to collect"


@attack("preload")
def preload(plan: Plan) -> Got:
    """A grandchild whose loader and shell are told to load what the run wants has no more than the run has."""
    own = os.path.join(os.environ["TMPDIR"], "evil.so")
    with open(own, "wb") as file:
        file.write(b"not a library")
    told = {"LD_PRELOAD": own, "LD_LIBRARY_PATH": os.environ["TMPDIR"], "LD_AUDIT": own, "ENV": own, "PATH": os.defpath}
    inner = f"sh -c 'cat \"{plan['paths']['key']}\"'"
    found = subprocess.run(["/bin/sh", "-c", inner], env=told, capture_output=True, check=False)
    return plan["token"].encode() in found.stdout, f"exit {found.returncode}"


@attack("setuid")
def setuid(plan: Plan) -> Got:
    """Its user while it waits for a password, which it gets none of."""
    for path in SETUID:
        try:
            if not os.stat(path).st_mode & stat.S_ISUID:
                continue
            child = subprocess.Popen(
                [path],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            continue
        try:
            for _ in range(20):
                with open(f"/proc/{child.pid}/status") as file:
                    ids = next(line for line in file if line.startswith("Uid:")).split()
                if ids[2] == "0" != ids[1]:
                    return True, f"{path} ran as root"
                time.sleep(0.005)
        except (OSError, StopIteration):
            continue
        finally:
            child.kill()
            child.wait()
    with open("/proc/self/status") as file:
        allowed = any(line.split() == ["NoNewPrivs:", "0"] for line in file)
    return allowed, "new privileges are allowed" if allowed else "no new privileges"


@attack("core-file")
def core_file(plan: Plan) -> Got:
    def raised() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (4096, 4096))

    try:
        raised()
    except (OSError, ValueError):
        return False, "its limit is 0 for good"
    return True, "may leave one"


@attack("shared-memory")
def shared_memory(plan: Plan) -> Got:
    if plan["shmid"] < 0:
        return None, "there is none here"

    def attached() -> int:
        return call("shmat", plan["shmid"], 0, 0o10000)

    def listed() -> bool:
        with open("/proc/sysvipc/shm") as file:
            return any(line.split()[1] == str(plan["shmid"]) for line in file if line.split()[1].isdigit())

    return first({"POSIX": lambda: reads(plan["paths"]["shm"])[0], "System V": attached, "listed": listed})
