"""The name of a run's user: without one, ssh, git over ssh, libpq, whoami and getpass refuse to work."""

import contextlib
import os
import pwd

from executor.sandbox import kernel

NAME = "sealrun"
"""What a user id is called that has no name of its own, such as a lent one."""


def user_name(uid: int | None) -> str:
    """Return the name of a run's user: that of the worker's, unless a user id is lent."""
    with contextlib.suppress(KeyError):
        if uid is None:
            return pwd.getpwuid(os.geteuid()).pw_name
    return NAME


def is_known(uid: int) -> bool:
    """Tell whether the user database of this machine has a name for it."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def mount_entry(uid: int, home: str, memory: str, root: str = "") -> None:
    """Let this process and its children find a user id in the user database: by name, with its group and home.

    The system's own entries stand below it, in copies that are made in `memory`, a file system of the run's own.
    `root` is where the run's own root is.
    """
    home = home if home.isprintable() and ":" not in home else "/"
    for file, entry in (
        ("/etc/passwd", f"{NAME}:x:{uid}:{uid}:a run of sealrun:{home}:/bin/sh\n"),
        ("/etc/group", f"{NAME}:x:{uid}:\n"),
    ):
        with contextlib.suppress(FileNotFoundError), open(root + file, "rb") as known:
            copy = f"{memory}/.{os.path.basename(file)}"
            with open(copy, "xb") as made:
                made.write(os.fsencode(entry) + known.read())
                os.fchmod(made.fileno(), 0o444)
            kernel.mount(copy, root + file, None, kernel.MS_BIND)
            flags = kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_RDONLY
            kernel.mount(None, root + file, None, flags)
            os.unlink(copy)
