"""Becomes another program on a machine whose seccomp profile refuses namespaces, as Docker's default one does.

python no_namespaces.py [--no-pidfd-getfd] ARGUMENTS OF THE SAME PYTHON…

Only what makes or enters namespaces and mounts is refused: whatever else a run may not call, the product refuses.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RETURN_ERRNO, RETURN_ALLOW = 0x00050000, 0x7FFF0000
LOAD_WORD, JUMP_IF_EQUAL, JUMP_IF_ANY, RETURN = 0x20, 0x15, 0x45, 0x06
NUMBER, FIRST_ARGUMENT = 0, 16
"""Where the number of the system call lies, and the lower half of its first argument."""

NEW_NAMESPACE = 0x7E020000
"""The flags of `clone` that make one: mount, cgroup, uts, ipc, user, pid and net."""

ALIKE = {
    "clone3": 435,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    "pidfd_getfd": 438,
}
NUMBERS = {
    "x86_64": {"clone": 56, "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, **ALIKE},
    "aarch64": {"clone": 220, "unshare": 97, "setns": 268, "mount": 40, "umount2": 39, "pivot_root": 41, **ALIKE},
}


def instruction(code: int, if_true: int, if_false: int, operand: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def program(machine: str, *, pidfd_getfd: bool) -> bytes:
    """The filter: `clone` only without such flags, `clone3` unknown, the others not permitted."""
    numbers = dict(NUMBERS[machine])
    clone, clone3 = numbers.pop("clone"), numbers.pop("clone3")
    if pidfd_getfd:
        del numbers["pidfd_getfd"]
    code = instruction(LOAD_WORD, 0, 0, NUMBER)
    for number in numbers.values():
        code += instruction(JUMP_IF_EQUAL, 0, 1, number) + answer(errno.EPERM)
    code += instruction(JUMP_IF_EQUAL, 0, 1, clone3) + answer(errno.ENOSYS)
    code += instruction(JUMP_IF_EQUAL, 0, 3, clone)
    code += instruction(LOAD_WORD, 0, 0, FIRST_ARGUMENT)
    code += instruction(JUMP_IF_ANY, 0, 1, NEW_NAMESPACE) + answer(errno.EPERM)
    return code + instruction(RETURN, 0, 0, RETURN_ALLOW)


def answer(error: int) -> bytes:
    return instruction(RETURN, 0, 0, RETURN_ERRNO | error)


def main() -> None:
    options = [word for word in sys.argv[1:2] if word == "--no-pidfd-getfd"]
    code = program(platform.machine(), pidfd_getfd=not options)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_ = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_, 0, 0)):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    os.execv(sys.executable, [sys.executable, *sys.argv[1 + len(options) :]])


if __name__ == "__main__":
    main()
