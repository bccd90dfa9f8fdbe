"""A box that was made before its run was known, and what happens on the machine meanwhile (I3)."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executor.sandbox import kernel
from executor.sandbox.box import namespaces, parts
from executor.supervisor.prepared import Prepared
from tests.processes import alive

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


def apart(act: Callable[[], Any]) -> Any:
    """What it gives in a fork that has a list of mounts of its own, as JSON."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.unshare(namespaces.NEWNS)
            kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
            os.write(write, json.dumps(act()).encode())
        except BaseException as error:  # noqa: BLE001  # told by the parent's assertion
            os.write(write, json.dumps(repr(error)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return json.loads(said)


@pytest.fixture
def granted() -> list[str]:
    """The parts of a box here."""
    found = apart(parts.granted)
    if found["box"] != "yes":
        pytest.skip(f"no box here: {found}")
    return [name for name, said in found.items() if said == "yes" and name != "box"]


@pytest.mark.parametrize("what", ["nothing", "mounted", "unmounted"])
def test_i3_a_box_is_of_no_use_once_the_machines_mounts_are_others(granted: list[str], what: str) -> None:
    """It would show what lies under a folder that was mounted meanwhile, or a volume that is not there any more."""
    with tempfile.TemporaryDirectory() as folder:

        def act() -> list[bool]:
            if what == "unmounted":
                kernel.mount("tmpfs", folder, "tmpfs", 0)
            prepared = Prepared(granted)
            box = prepared._box
            assert box is not None and alive([box.pid])
            if what == "mounted":
                kernel.mount("tmpfs", folder, "tmpfs", 0)
            elif what == "unmounted":
                kernel.unmount(folder)
            taken = prepared.taken()
            found = [taken is box, bool(alive([box.pid]))]
            prepared.give_up()
            found.append(bool(alive([box.pid])))
            if taken is not None:
                taken.give_up()
            return [*found, bool(alive([box.pid])), prepared.taken() is None]

        # What was taken is not its to end: the number of a process that was collected may be another's by then.
        left = [True, True, True] if what == "nothing" else [False, False, False]
        assert apart(act) == [*left, False, True]


def test_i8_one_that_nobody_takes_is_ended(granted: list[str]) -> None:
    """As for a bell whose run somebody else has."""

    def act() -> list[bool]:
        prepared = Prepared(granted)
        box = prepared._box
        assert box is not None
        before = bool(alive([box.pid]))
        prepared.give_up()
        return [before, bool(alive([box.pid]))]

    assert apart(act) == [True, False]


def test_where_runs_have_no_box_none_is_made() -> None:
    """At a rung below, or where this machine refuses one."""
    prepared = Prepared(())
    assert prepared.taken() is None
    prepared.give_up()


def test_where_its_mounts_cannot_be_watched_none_is_made(granted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's own is made when that is known, as late as that."""
    monkeypatch.setattr("executor.supervisor.prepared._MOUNTS", str(Path("/nonexistent")))
    assert Prepared(granted).taken() is None
