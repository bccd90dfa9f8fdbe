"""A small machine for the kernel's classic BPF, and forks under a filter."""

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from executor.sandbox import filter as calls
from executor.sandbox import kernel
from executor.sandbox.filter import entering, judge
from executor.sandbox.filter.bpf import ARCHITECTURES

libc = ctypes.CDLL(None, use_errno=True)


def answer(
    program: bytes, number: int, *arguments: int, architecture: str = "x86_64", machine: int | None = None
) -> str:
    """What the kernel would do with a call: `allow`, `kill`, `notify`, or the name of an error."""
    values = [argument & (1 << 64) - 1 for argument in arguments] + [0] * (6 - len(arguments))
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, machine or ARCHITECTURES[architecture], 0x7F00, *values)
    code = list(struct.iter_unpack("=HBBI", program))
    place = accumulator = 0
    while True:
        operation, if_true, if_false, operand = code[place]
        place += 1
        match operation:
            case 0x20:
                assert operand % 4 == 0 and operand < len(data), "the kernel takes whole words of the call alone"
                accumulator = int.from_bytes(data[operand : operand + 4], "little")
            case 0x54:
                accumulator &= operand
            case 0x15:
                place += if_true if accumulator == operand else if_false
            case 0x35:
                place += if_true if accumulator >= operand else if_false
            case 0x06:
                return _named(operand)
            case _:
                raise AssertionError(f"an instruction that no line of ours has: {operation:#x}")


def _named(outcome: int) -> str:
    if outcome & 0xFFFF0000 == 0x00050000:
        return errno.errorcode[outcome & 0xFFFF] if outcome & 0xFFFF else "yes"
    return {0x7FFF0000: "allow", 0x80000000: "kill", 0x7FC00000: "notify"}[outcome]


def system_call(number: int, *arguments: Any) -> str:
    """`yes`, or the name of the error number."""
    ctypes.set_errno(0)
    if libc.syscall(number, *arguments) >= 0:
        return "yes"
    return errno.errorcode[ctypes.get_errno()]


def forked(look: Callable[[], Any], before: Callable[[], None] = lambda: None) -> Any:
    """What `look` returns in a forked process, after `before`."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _tell(writing, look, before)
    os.close(writing)
    text = _read(reading)
    return _said(text, os.waitpid(pid, 0)[1])


def judged(look: Callable[[], Any], *folders: str, uid: int | None = None) -> Any:
    """The same in a process whose connections are judged, with these folders of its own."""
    reading, writing = os.pipe()
    over, over_write = os.pipe()

    def work(channel: int, _: int) -> NoReturn:
        def enter() -> None:
            _close_listening()
            if uid is not None:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            kernel.forbid_new_privileges()
            entering.enter("full", "judged", channel)

        _tell(writing, look, enter)

    judge_pid = judge.start(folders, uid, over_write, {writing, *map(int, os.listdir("/proc/self/fd"))}, work)
    os.close(writing)
    os.close(over_write)
    text, status = _read(reading), _read(over)
    assert os.waitpid(judge_pid, 0)[1] == 0, "the judge failed"
    return _said(text, struct.unpack("=i", status)[0])


def _tell(writing: int, look: Callable[[], Any], before: Callable[[], None]) -> NoReturn:
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)
        before()
        said = {"said": look()}
    except BaseException as error:  # noqa: BLE001  # told to the test, which fails with it
        said = {"failed": f"{type(error).__name__}: {error}"}
    os.write(writing, json.dumps(said).encode())
    os._exit(0)


def _read(pipe: int) -> bytes:
    with os.fdopen(pipe, "rb") as file:
        return file.read()


def _said(text: bytes, status: int) -> Any:
    if not text:
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    document = json.loads(text)
    assert "failed" not in document, document
    return document["said"]


def filtered(rung: str, network: str = "full", unix: str = "refused") -> Callable[[], None]:
    """What a process does to come under a filter without a judge."""

    def enter() -> None:
        kernel.forbid_new_privileges()
        calls.install(calls.program(rung, network, unix))

    return enter


def _close_listening() -> None:
    """Those of the test itself: a run has inherited none."""
    for number in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as one:
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                os.close(number)
