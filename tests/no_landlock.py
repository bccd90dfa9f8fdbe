"""Becomes another program on a kernel that seems to have no Landlock: its three system calls answer ENOSYS.

python no_landlock.py ARGUMENTS OF THE SAME PYTHON…
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RETURN_ERRNO, RETURN_ALLOW = 0x00050000, 0x7FFF0000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
LANDLOCK = (444, 445, 446)


def instruction(code: int, if_true: int, if_false: int, operand: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def main() -> None:
    program = instruction(LOAD_WORD, 0, 0, 0)  # the number of the system call
    for place, number in enumerate(LANDLOCK):
        program += instruction(JUMP_IF_EQUAL, len(LANDLOCK) - place, 0, number)
    program += instruction(RETURN, 0, 0, RETURN_ALLOW) + instruction(RETURN, 0, 0, RETURN_ERRNO | errno.ENOSYS)
    buffer = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_, 0, 0)):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


if __name__ == "__main__":
    main()
