"""Giving up every right of root over one's namespaces, for good.

Sources: capabilities(7), capset(2), prctl(2).
"""

import ctypes
import os
import platform
import struct

from executor.sandbox import kernel

_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522
_PR_CAPBSET_DROP, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL = 24, 28, 47, 4
# No root by user id, no change of rights with a change of it, no ambient rights; and that for good.
_SECUREBITS = 0b11101111
_HIGHEST = 63  # the kernel numbers fewer, and says where they end

_libc = ctypes.CDLL(None, use_errno=True)


def give_up(uid: int | None) -> None:
    """Become a lent user id, if one is lent, and give up all capabilities; nothing started from here gets any again.

    Raises:
        OSError: the kernel refuses.
    """
    for number in range(_HIGHEST + 1):
        if _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0) < 0:
            break
    _libc.prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(_AMBIENT_CLEAR_ALL), 0, 0, 0)
    kernel.checked(_libc.prctl(_PR_SET_SECUREBITS, ctypes.c_ulong(_SECUREBITS), 0, 0, 0), "securebits")
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    kernel.checked(_libc.syscall(_CAPSET[platform.machine()], header, bytes(24)), "capset")
