"""A worker on a kernel without Landlock: it says so in every receipt, and takes nothing that asks for more (I9)."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import WEAKER, Rig, command, file, ordinary_account, rig

WITHOUT = Path(__file__).parents[1] / "no_landlock.py"


@pytest.fixture(scope="module")
def bare() -> Iterator[Rig]:
    """An ordinary user's worker at rung `process`."""
    with rig(account=ordinary_account()) as made:
        made.project("shop", {"API_KEY": b"hunter2-prod-key-5417"})
        made.start_worker(launcher=WEAKER["process"])
        yield made


def test_the_launcher_takes_landlock_away() -> None:
    """What the tests below stand on: under the launcher the product's own probe finds none."""
    code = "from executor.sandbox.kernel import landlock_abi; print(landlock_abi())"
    found = subprocess.run(
        [sys.executable, str(WITHOUT), "-c", code], cwd=WITHOUT.parents[1], capture_output=True, text=True, check=True
    )
    assert found.stdout == "0\n"


def test_receipt_says_process(bare: Rig) -> None:
    """I9, I3: the receipt names the rung that was in force, and that the run could read the key file; it could."""
    code = bare.job("import os, sys\nprint(open(sys.argv[1]).read(9))")
    ended = bare.run(file(code, str(bare.key_file)))
    receipt = ended.view.receipt
    assert receipt is not None
    assert (receipt.rung, receipt.controls["landlock_abi"]) == ("process", 0)
    assert receipt.controls["key_file_readable"] is True
    assert ended.stdout == "# sealrun\n"


def test_nothing_is_collected_where_the_output_folder_was(bare: Rig) -> None:
    """I3: without Landlock a run may put a link there; its supervisor does not go where it leads."""
    code = "import os, sys\nroot = os.environ['SEALRUN_OUTPUT_DIR']\nos.rmdir(root)\nos.symlink(sys.argv[1], root)"
    for goal in (bare.key_file.parent, "/proc/self", bare.jobs):
        ended = bare.run(file(bare.job(code), str(goal)))
        assert ended.how == ("succeeded", None, 0), ended.stderr
        ((path, why),) = [(one.path, one.withheld) for one in ended.view.outputs]
        assert path == "…" and str(why).startswith("the output folder cannot be read")


def test_a_run_that_asks_for_landlock_waits(bare: Rig) -> None:
    """I9: it stays pending beside others that are taken, until a worker comes that can give what it asks for."""
    waiting = bare.submit(command("echo", "confined"), rung_min="landlock")
    for _ in range(3):
        bare.ring(waiting)
        assert bare.run(command("true"), rung_min="process").how == ("succeeded", None, 0)
    assert (bare.view(waiting).state, bare.view(waiting).attempt) == ("pending", 0)
    assert bare.attempts(waiting) == []
    bare.workers[0].end()
    capable = bare.start_worker(launcher=WEAKER["landlock"])
    if bare.rung(capable) != "landlock":
        pytest.skip("this kernel has no Landlock")
    ended = bare.ended(waiting)
    assert (ended.how, ended.stdout) == (("succeeded", None, 0), "confined\n")
    assert ended.view.receipt is not None and ended.view.receipt.rung == "landlock"


def test_a_rung_nobody_has(bare: Rig) -> None:
    """I9: a run that asks for `namespace` is not taken by a worker at `landlock` either."""
    waiting = bare.submit(command("true"), rung_min="namespace")
    assert bare.run(command("true")).how == ("succeeded", None, 0)
    assert bare.view(waiting).state == "pending"
    assert bare.view(waiting).attempt == 0


def test_the_launcher_takes_namespaces_away() -> None:
    """What tests of a weaker machine stand on: no namespace, no mount, and threads and programs as everywhere."""
    code = (
        "import ctypes, errno, os, subprocess, threading\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "for act in (lambda: libc.unshare(0x10000000), lambda: libc.unshare(0x20000), lambda: libc.setns(0, 0),\n"
        "            lambda: libc.mount(b'x', b'/', b'tmpfs', 0, None)):\n"
        "    assert act() == -1 and ctypes.get_errno() == errno.EPERM\n"
        "begun = threading.Thread(target=lambda: print('thread', flush=True))\nbegun.start()\nbegun.join()\n"
        "subprocess.run(['echo', 'program'], check=True)\n"
    )
    refused = [sys.executable, str(WITHOUT.with_name("no_namespaces.py")), "-c", code]
    found = subprocess.run(refused, capture_output=True, text=True, check=True)
    assert sorted(found.stdout.split()) == ["program", "thread"]
