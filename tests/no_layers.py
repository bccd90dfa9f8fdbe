"""Becomes another program on a machine where no layer can be laid over a source: the workspaces lie on one already.

python no_layers.py ARGUMENTS OF THE SAME PYTHON…

As in a container, whose own files are layers: the kernel takes none of those for another's upper one. Needs root.
"""

import ctypes
import os
import sys

CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 0x4000, 0x40000


def main() -> None:
    place = os.environ["SEALRUN_WORKSPACES"]
    layers = [f"{place}-{name}" for name in ("lower", "upper", "work")]
    for folder in (place, *layers):
        os.makedirs(folder, mode=0o711, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    options = "lowerdir={},upperdir={},workdir={}".format(*layers).encode()
    for outcome in (
        libc.unshare(CLONE_NEWNS),
        libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None),
        libc.mount(b"overlay", place.encode(), b"overlay", 0, options),
    ):
        if outcome != 0:
            raise OSError(ctypes.get_errno(), "no layer for the workspaces")
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


if __name__ == "__main__":
    main()
