"""What this machine grants of a box, found out by trying each part in a process of its own, once per worker.

A sysctl says less than a try: a container's profile, a security module or a limit may refuse what it allows.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from executor.sandbox import confinement, kernel
from executor.sandbox.box import init, namespaces
from executor.sandbox.host import GRANTED

OPTIONAL = ("ipc", "uts", "cgroup", "net", "proc", "pts")
"""What a box can do without; the rest holds."""


def granted() -> dict[str, str]:
    """Each part, with `GRANTED` or the reason why it is not; `box` stands for a whole one, of all that are granted."""
    found = {"user": GRANTED} if os.geteuid() == 0 else {"user": _tried(_user)}
    found["mount"] = _tried(_mounts)
    found["pid"] = _tried(lambda: _enter(namespaces.NEWPID))
    for name, flag in (("ipc", namespaces.NEWIPC), ("uts", namespaces.NEWUTS), ("cgroup", namespaces.NEWCGROUP)):
        found[name] = _tried(partial(_enter, flag))
    found["net"] = _tried(_network)
    found["proc"] = _tried(_processes)
    found["pts"] = _tried(_terminals)
    usable = [name for name in OPTIONAL if found[name] == GRANTED]
    found["box"] = _whole(usable)
    return found


def _tried(act: Callable[[], Any]) -> str:
    """Try it in a fork, which ends: `GRANTED`, or the kernel's word for the refusal."""
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        said = GRANTED
        try:
            act()
        except OSError as error:
            said = (error.strerror or "refused").lower()
        except BaseException as error:  # noqa: BLE001  # ends in _exit
            said = type(error).__name__
        finally:
            with contextlib.suppress(OSError):
                os.write(write, said.encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        said = answer.read(256).decode()
    os.waitpid(pid, 0)
    return said or "the process that tried it was killed"


def _user() -> None:
    uid, gid = os.geteuid(), os.getegid()
    _unshare(namespaces.NEWUSER)
    namespaces.map_user(uid, gid)


def _enter(flag: int) -> None:
    if os.geteuid():
        _user()
    _unshare(flag)


def _mounts() -> None:
    _enter(namespaces.NEWNS)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", "/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)


def _network() -> None:
    _enter(namespaces.NEWNET)
    namespaces.loopback_up()


def _processes() -> None:
    """A process list of one's own takes a pid namespace, which only a fork is in."""
    _enter(namespaces.NEWPID | namespaces.NEWNS)
    pid = os.fork()
    if pid == 0:
        number = 1
        try:
            kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
            kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
            number = 0
        except OSError as error:
            number = error.errno or 1
        finally:
            os._exit(number)
    if number := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise OSError(number, os.strerror(number))


def _terminals() -> None:
    _mounts()
    flags = kernel.MS_NOSUID | kernel.MS_NOEXEC
    kernel.mount("devpts", "/tmp", "devpts", flags, "newinstance,ptmxmode=0666,mode=620")


def _whole(usable: Sequence[str]) -> str:
    """Make a box and have something run in it."""
    with tempfile.TemporaryDirectory(prefix="sealrun-probe-") as folder:
        network = "none" if "net" in usable else "full"
        view = confinement.View("namespace", (), (folder,), (), network=network, parts=tuple(usable))
        trouble, trouble_write = os.pipe2(os.O_CLOEXEC)
        status, status_write = os.pipe2(os.O_CLOEXEC)
        try:
            box = init.make(usable, init.forked(_nothing))
        except OSError as error:
            return (error.strerror or "refused").lower()
        finally:
            pass
        try:
            box.go(view, {}, [trouble_write, status_write])
        except OSError:
            return "its first process ended"
        finally:
            os.close(trouble_write)
            os.close(status_write)
        with os.fdopen(trouble, "rb") as words:
            why = words.read(256).decode(errors="replace")
        ended = init.status_of(status)
        os.close(status)
        os.waitpid(box.pid, 0)
        return GRANTED if ended == 0 and not why else why or "its first process ended"


def _nothing(_: Mapping[str, Any], descriptors: Sequence[int]) -> NoReturn:
    os._exit(0)


def _unshare(flags: int) -> None:
    kernel.unshare(flags)
