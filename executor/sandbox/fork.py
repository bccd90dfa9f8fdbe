"""Fork a child that does one thing and ends, whatever happens in it."""

import contextlib
import os
import signal
from collections.abc import Callable, Collection

from executor.sandbox import kernel


def fork(work: Callable[[], int], keep: Collection[int]) -> int:
    """Fork; the child runs `work` and exits with its result. Returns the child's process id, in the parent only.

    Args:
        work: what the child does.
        keep: descriptors the child keeps, besides the first three.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        kernel.close_descriptors(keep)
        code = work()
    except BaseException as error:  # noqa: BLE001  # ends in _exit
        # The text of an exception may quote a value: tell only its type and place.
        with contextlib.suppress(OSError):
            os.write(2, f"sealrun: a process of this worker failed: {type(error).__name__}{place_of(error)}\n".encode())
    finally:
        os._exit(code)


def place_of(error: BaseException) -> str:
    """Where an exception came from, as words to add; empty if it does not know."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f" at {os.path.basename(frame.tb_frame.f_code.co_filename)}:{frame.tb_lineno}" if frame else ""
