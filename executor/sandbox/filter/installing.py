"""Puts a filter in force for the calling process and all it starts, for good; see seccomp(2)."""

import ctypes
import errno
import os
import platform
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER = 1
_NEW_LISTENER = 1 << 3
_WAIT_KILLABLE = 1 << 5  # from Linux 5.19 on: a call that is being judged is disturbed by nothing but a deadly signal


def install(program: bytes) -> None:
    """Put a filter in force. Needs `kernel.forbid_new_privileges`.

    Raises:
        OSError: the kernel has no such filters, or the container forbids them.
    """
    _set(program, 0)


def install_judged(program: bytes) -> int:
    """The same, and return the descriptor over which the kernel asks about notified calls.

    Raises:
        OSError: as `install`; EBUSY if somebody judges the calls of this process already.
    """
    try:
        return _set(program, _NEW_LISTENER | _WAIT_KILLABLE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return _set(program, _NEW_LISTENER)


def _set(program: bytes, flags: int) -> int:
    buffer = ctypes.create_string_buffer(program, len(program))
    whole = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    number = _SECCOMP.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    done: int = _libc.syscall(number, _SET_MODE_FILTER, flags, whole)
    if done < 0:
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed))
    return done
