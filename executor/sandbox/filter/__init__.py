"""What a run may ask of the kernel: a seccomp filter from a table, and unix sockets judged by address.

`calls` is the table, `bpf` turns it into the kernel's program, `installing` puts that in force. At rung `landlock`
connections of unix sockets are decided by a process of their own, `judge`, which is asked by the kernel; `entering`
tries whether that can be had.
"""

from executor.sandbox.filter.bpf import program
from executor.sandbox.filter.entering import enter, probe
from executor.sandbox.filter.installing import install
from executor.sandbox.kernel import scope_only

__all__ = ["enter", "install", "probe", "program", "scope_only"]
