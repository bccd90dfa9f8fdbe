"""What this machine offers to runs, found out by trying."""

import contextlib
import os

from executor.sandbox import filter as calls
from executor.sandbox import kernel
from executor.sandbox.box import parts
from executor.sandbox.confinement import OWN_MEMORY
from executor.sandbox.host import Host


def probe() -> Host:
    """Try what the kernel grants, each in a process of its own; some 30 ms."""
    mounts = False
    if os.geteuid() == 0:
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(OSError):
                kernel.own_namespaces()
                kernel.mount("tmpfs", OWN_MEMORY, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)
                os._exit(0)
            os._exit(1)
        mounts = os.waitpid(pid, 0)[1] == 0
    return Host(kernel.landlock_abi(), mounts, parts.granted(), calls.probe())
