"""A run's own process at rung `landlock`, as the supervisor makes it: files, calls and connections together."""

import contextlib
import os
import select
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.sandbox import confinement, kernel, tree
from executor.sandbox import filter as filters
from executor.sandbox.host import Host
from executor.supervisor import child as children

UID = 60622
UNIX = filters.probe()

JOB = """
import multiprocessing, os, socket, sys
def work(queue): queue.put(os.getpid() != 0)
if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    queue = context.Queue()
    one = context.Process(target=work, args=(queue,)); one.start(); print(queue.get(), flush=True); one.join()
    with socket.socket(socket.AF_UNIX) as other: print(other.connect_ex(sys.argv[1]), flush=True)
"""


@pytest.mark.skipif(not kernel.landlock_abi() or UNIX != "judged", reason="no Landlock, or calls are not judged here")
@pytest.mark.parametrize("lent", [False, True], ids=["of the same user", "of a lent user id"])
def test_i3_forkserver_goes_on_and_others_sockets_do_not(open_folder: Path, lent: bool) -> None:
    """As root and not: what is its own is reached through the judge, what is another's is not, and its end is told."""
    if lent and os.geteuid() != 0:
        pytest.skip("needs root")
    private = [open_folder / name for name in ("home", "tmp", "output")]
    for folder in (*private, open_folder / "source"):
        folder.mkdir()
        if lent and folder in private:
            os.chown(folder, UID, UID)
    (open_folder / "source/job.py").write_text(JOB)
    (open_folder / "source/job.py").chmod(0o644)
    interpreter = [Path(sys.base_prefix) / "lib"] if sys.base_prefix not in ("/usr", "/usr/local") else []
    view = confinement.view(
        Host(kernel.landlock_abi(), False, unix_sockets=UNIX), source=open_folder / "source", interpreter=interpreter,
        writable=private, uid=UID if lent else None, forbidden=[],
    )  # fmt: skip
    other = open_folder / "agent"
    with listened_to(other):
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(private[0]), "TMPDIR": str(private[1])}
        target = {"kind": "command", "argv": [sys._base_executable, "job.py", str(other)]}  # type: ignore[attr-defined]
        folder = str(open_folder / "source")
        waiting = children.prepare(target=target, python="", folder=folder, view=view, bare=environment)
        child = waiting.start({name.encode(): value.encode() for name, value in environment.items()})
        assert select.select([child.over], [], [], 60)[0], "it has not ended"
        said, errors = os.read(child.stdout, 4096), os.read(child.stderr, 4096)
        status = child.collected()
        tree.end_tree([pid for pid in tree.children(os.getpid()) if pid != child.pid])
        children.close(child)
    assert (said, status) == (b"True\n13\n", 0), errors


@contextlib.contextmanager
def listened_to(path: Path) -> Iterator[None]:
    """A socket of somebody else's, at a path that everybody may reach."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
        path.chmod(0o777)
        one.listen()
        yield
