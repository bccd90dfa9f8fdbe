"""The kernel's questions about notified calls and the answers to them; see seccomp_unotify(2)."""

import ctypes
import errno
import fcntl
import os
import struct
from dataclasses import dataclass

_libc = ctypes.CDLL(None, use_errno=True)
_RECEIVE, _SEND, _VALID = 0xC0502100, 0xC0182101, 0x40082102
_NOTICE = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_PIDFD_GETFD = 438
_PIDFD_THREAD = os.O_EXCL  # from Linux 6.9 on: of one thread


@dataclass(frozen=True)
class Notice:
    """A call that waits for its answer: its number, the thread that made it, and its arguments."""

    listener: int
    id: int
    thread: int
    arguments: tuple[int, ...]

    def still_waits(self) -> bool:
        """Tell whether the thread is that one and still waits. What was read of it before this was its own."""
        try:
            fcntl.ioctl(self.listener, _VALID, struct.pack("=Q", self.id))
        except OSError:
            return False
        return True

    def answer(self, error: int) -> bool:
        """Let the call return this error, 0 for success; False if nobody waits for it any more."""
        try:
            fcntl.ioctl(self.listener, _SEND, _ANSWER.pack(self.id, 0, -error, 0))
        except OSError:
            return False
        return True

    def descriptor(self, number: int) -> int:
        """Take one of the descriptors of the thread that asks.

        Raises:
            OSError: it has none of that number, or this process may not.
        """
        pidfd = self._pidfd()
        try:
            taken: int = _libc.syscall(_PIDFD_GETFD, pidfd, number, 0)
            if taken < 0:
                raise OSError(failed := ctypes.get_errno(), os.strerror(failed))
            return taken
        finally:
            os.close(pidfd)

    def _pidfd(self) -> int:
        try:
            return os.pidfd_open(self.thread, _PIDFD_THREAD)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        with open(f"/proc/{self.thread}/status", "rb") as status:
            group = next(line for line in status if line.startswith(b"Tgid:"))
        return os.pidfd_open(int(group.split()[1]))

    def memory(self, address: int, length: int) -> bytes:
        """Read the memory of the thread that asks, once.

        Raises:
            OSError: there is nothing at that address, or this process may not.
        """
        buffer = ctypes.create_string_buffer(length)
        here = struct.pack("@PN", ctypes.addressof(buffer), length)
        there = struct.pack("@PN", address, length)
        # Not by /proc: a process that is not dumpable belongs to root there.
        if length and _libc.process_vm_readv(self.thread, here, 1, there, 1, 0) != length:
            error = ctypes.get_errno()
            raise OSError(error if error == errno.EPERM else errno.EFAULT, "")
        return buffer.raw

    def has_signal(self) -> bool:
        """Tell whether a signal waits until the call is over."""
        try:
            with open(f"/proc/{self.thread}/status", "rb") as status:
                masks = dict(line.split(b":\t") for line in status if line.startswith((b"Sig", b"ShdPnd")))
            thread, whole, blocked, ignored = (
                int(masks[name], 16) for name in (b"SigPnd", b"ShdPnd", b"SigBlk", b"SigIgn")
            )
        except (OSError, KeyError, ValueError):
            return False
        return bool((thread | whole) & ~blocked & ~ignored)


def receive(listener: int) -> Notice | None:
    """Take the next question; None if who asked is gone already."""
    buffer = bytearray(_NOTICE.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, buffer, True)
    except OSError:
        return None
    number, thread, _, _, _, _, *arguments = _NOTICE.unpack(buffer)
    return Notice(listener, number, thread, tuple(arguments))
