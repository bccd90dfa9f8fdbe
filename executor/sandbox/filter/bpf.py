"""Turns the table of `calls` into a program for the kernel; see seccomp(2) and linux/filter.h."""

import errno
import functools
import os
import platform
import struct

from executor.sandbox.filter import calls
from executor.sandbox.filter.calls import Only, Rule

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000  # such numbers are the x32 calls of an x86-64 kernel
_SKIPPED = 0xFFFFFFFF  # the number of a call that a debugger has taken out
_KILL = 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # where they lie in struct seccomp_data

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_EQUAL, _GREATER_OR_EQUAL = 0x15, 0x35
_LONGEST = 255  # instructions that a jump can pass


@functools.cache
def program(rung: str, network: str, unix: str = "judged", machine: str | None = None) -> bytes:
    """Return the kernel's program, an array of struct sock_filter.

    Args:
        rung: `landlock` or `namespace`.
        network: `full`, or `none`: at `landlock` no internet sockets at all.
        unix: at `landlock`, unix sockets are `judged` by address (`installing.install_judged`), or `refused`.
        machine: default: this one.

    Raises:
        OSError: there is no table for this machine.
    """
    machine = machine or platform.machine()
    if machine not in ARCHITECTURES:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    code = [
        _one(_LOAD, _ARCHITECTURE),
        _one(_EQUAL, ARCHITECTURES[machine], 1, 0),
        _one(_RETURN, _KILL),
        _one(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        code += [
            _one(_EQUAL, _SKIPPED, 0, 1),
            _one(_RETURN, calls.ALLOW),
            _one(_GREATER_OR_EQUAL, _X32, 0, 1),
            _one(_RETURN, _KILL),
        ]
    for line in calls.program_of(rung, network, unix):
        number = getattr(line, machine)
        rule = line.namespace if rung == "namespace" else line.landlock
        if number is not None and rule is not None:
            body = _body(rule)
            code += [_one(_EQUAL, number, 0, _near(len(body))), *body]
    code.append(_one(_RETURN, calls.ALLOW))
    return b"".join(code)


def _one(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def _body(rule: Rule) -> list[bytes]:
    """One call's answer. It loads over the number, so every path of it ends in a return."""
    body: list[bytes] = []
    for alternative in rule.passes:
        passed = [_one(_RETURN, rule.outcome)]
        for condition in reversed(alternative):
            passed = _condition(condition, len(passed)) + passed
        body += passed
    return [*body, _one(_RETURN, calls.ERRNO | rule.error)]


def _condition(condition: Only, rest: int) -> list[bytes]:
    """Go on behind this if it holds, else past the `rest` of its alternative."""
    code = [_one(_LOAD, _ARGUMENTS + 8 * condition.argument)]
    if condition.mask != 0xFFFFFFFF:
        code.append(_one(_AND, condition.mask))
    for left in reversed(range(len(condition.values))):
        value = condition.values[-1 - left]
        if condition.other:
            code.append(_one(_EQUAL, value, _near(left + rest), 0))
        else:
            code.append(_one(_EQUAL, value, left, 0 if left else _near(rest)))
    return code


def _near(distance: int) -> int:
    if distance > _LONGEST:
        raise ValueError("too far for a jump")
    return distance
