"""The child that carries one command out: it becomes what the command would have been, had it been started cold.

Here alone is a request read, so that the process that waits for the next command holds nothing of this one.
"""

import atexit
import contextlib
import gc
import hmac
import io
import locale
import os
import resource
import signal
import socket
import sys
import threading
import time
from typing import NoReturn

from executor.cli import main as cold
from executor.cli.warm import place, wire

NOT_BEGUN = 125
"""Exit code where nothing was done; nobody hears it."""


def carry_out(connection: socket.socket, folder: int, circumstances: list[bytes]) -> NoReturn:
    """Take one command over and end as it ends."""
    os.setsid()
    connection.settimeout(wire.PATIENCE)
    try:
        received = _received(connection, place.word(folder))
        if received is None:
            os._exit(NOT_BEGUN)
        request, descriptors = received
        if request.circumstances != circumstances:
            os._exit(NOT_BEGUN)
        _become(request, descriptors)
        wire.say_ready(connection)
        wire.expect(connection, wire.GO)
    except (OSError, ValueError, wire.Unclear, place.Closed):
        os._exit(NOT_BEGUN)
    os.close(folder)
    connection.close()  # the parent has it, too, and tells how this process ended
    signal.pthread_sigmask(signal.SIG_SETMASK, [*map(int, request.state[2:])])
    _end(_run())


def _received(connection: socket.socket, word: bytes) -> tuple[wire.Request, list[int]] | None:
    """The request, once whoever sends it has shown that it knows the word."""
    said, descriptors, _, _ = socket.recv_fds(connection, len(word), wire.DESCRIPTORS)
    if not hmac.compare_digest(said, word) or len(descriptors) != wire.DESCRIPTORS:
        return None
    return wire.receive(connection), descriptors


def _become(request: wire.Request, descriptors: list[int]) -> None:
    """Take on folder, streams, limits, environment, and all that Python makes of them when it starts.

    Raises:
        OSError, ValueError: a limit cannot be had here, or the like; nothing was done.
    """
    *streams, here = descriptors
    os.fchdir(here)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for descriptor in descriptors:
        os.close(descriptor)
    umask, ignored = request.state[:2]
    os.umask(int(umask, 8))
    for wanted, own in zip(request.limits, wire.limits(), strict=True):
        if wanted != own:
            number, soft, hard = map(int, wanted.split())
            resource.setrlimit(number, (soft, hard))
    _take_signals(int(ignored, 16))
    os.environ.clear()
    for pair in request.environment:
        name, _, value = pair.partition(b"=")
        os.environb[name] = value
    time.tzset()
    locale.setlocale(locale.LC_CTYPE, "")
    sys.argv = [*map(os.fsdecode, request.arguments)]
    sys.path = [*map(os.fsdecode, request.path)]
    _open_streams([word.decode() for word in request.streams])
    gc.enable()


def _take_signals(ignored: int) -> None:
    """Those that the command was started with as ignored are; the others are as Python has them."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        wanted = signal.SIG_IGN if ignored & 1 << (number - 1) else signal.SIG_DFL
        if number == signal.SIGINT and wanted is signal.SIG_DFL:
            wanted = signal.default_int_handler  # type: ignore[assignment]  # the others are of an enumeration
        signal.signal(number, wanted)


def _open_streams(words: list[str]) -> None:
    """As Python opens them: https://docs.python.org/3/library/sys.html#sys.stdin"""
    stdin, stdout, stderr = (
        io.TextIOWrapper(
            os.fdopen(number, "wb" if number else "rb", 0 if unbuffered and number else -1, closefd=False),
            encoding,
            errors,
            newline="\n",
            line_buffering=not unbuffered and (number == 2 or os.isatty(number)),
            write_through=bool(unbuffered),
        )
        for number, (encoding, errors, unbuffered) in enumerate(zip(words[::3], words[1::3], words[2::3], strict=True))
    )
    sys.stdin = sys.__stdin__ = stdin  # type: ignore[misc]  # typed as never assigned; Python has both
    sys.stdout = sys.__stdout__ = stdout  # type: ignore[misc]  # likewise
    sys.stderr = sys.__stderr__ = stderr  # type: ignore[misc]  # likewise


def _run() -> int:
    """Carry it out; its exit code, as Python makes it of how `main` ends."""
    try:
        cold.main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        sys.stderr.write(f"{end.code}\n")
        return 1
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001  # this is where Python itself would catch it
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _end(code: int) -> NoReturn:
    """What Python does at its end, but for taking down its modules one by one."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
