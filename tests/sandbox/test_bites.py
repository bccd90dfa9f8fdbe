"""The attacks bite: bare, and in copies of the product with their controls taken out, they get what they are after.

An attack that would fail anyway proves nothing by failing. The product has no switch for any of this: each test changes
the files of a copy.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from executor.conformance.catalog import CATALOG, MAIN, NONE, PROCESS
from executor.conformance.judging import Heard, judge
from executor.conformance.layout import laid_out
from tests.leaks.scene import tree
from tests.rig import CHECKOUT, as_ordinary, ordinary_account
from tests.sandbox.attacking import attacked
from tests.sandbox.controls import CONTROLS, WITHOUT_LANDLOCK
from tests.sandbox.layers import AGAINST, COPIES, MORE, THE_KERNELS, UID, absent, cannot_turn, expected, taken_out

TOLD_BY_THE_LINE = {
    "links",
    "forged-frames",
    "deep-result",
    "none-servers",
    "none-metadata",
    "none-names",
    "covered",
    "starts",
}
"""What there is no telling without a supervisor, or depends on what else this machine can reach."""

A_CONTAINERS = {"setuid", "mount", "pivot-root"}
"""What a container may refuse to all that is in it."""


def test_bare_they_get_it(tmp_path: Path) -> None:
    """With nothing around them, as a program of the worker's user: all that it could have is had."""
    with tempfile.TemporaryDirectory(prefix="sealrun-t-", dir="/tmp") as folder:
        base, account = Path(folder), ordinary_account()
        base.chmod(0o755)
        (base / "jobs").mkdir()
        become = [sys.executable] if account is None else as_ordinary(base, account)
        own = {"PATH": os.defpath, "TMPDIR": str(base / "writable"), "SEALRUN_OUTPUT_DIR": str(base / "writable")}
        with (
            subprocess.Popen([*become, "-c", "import time; time.sleep(60)"]) as worker,
            laid_out(base, {"worker": worker.pid}, launcher=become, account=account) as place,
        ):
            names = [one.name for one in CATALOG if one.run in (MAIN, NONE)]
            told = [*become, "-m", "attacks.run", *place.argv(names)]
            ran = subprocess.run(told, cwd=place.source, env=own, capture_output=True, check=False)
            left = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and plan_of(pid) == place.plan_name]
            heard = Heard(stdout=ran.stdout, exit_code=ran.returncode, left=left)
            seen = place.seen()
            for pid in (*left, worker.pid):
                os.kill(pid, 9)
        verdicts = {one.attack: one for one in judge({MAIN: heard, NONE: heard}, seen, place.token)}
    kept = {name for name in names if verdicts[name].verdict == "held"}
    assert kept - TOLD_BY_THE_LINE <= THE_KERNELS | A_CONTAINERS, {name: verdicts[name].how for name in kept}
    assert len(kept) < len(names) / 2


def plan_of(pid: str) -> str:
    """The plan among the arguments of a process."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((Path(os.fsdecode(word)).name for word in words if b"/plan-" in word), "")


WRITTEN = json.loads((CHECKOUT / "tests/sandbox/held.json").read_text())
CASES = [
    pytest.param(cell, copy, id=f"{cell.replace(' ', '-')}-{number}")
    for cell, copies in COPIES.items()
    for number, copy in enumerate(copies)
]


def held(cell: str) -> set[str]:
    """What is written down as held at a rung under a user."""
    return {name for name, verdict in WRITTEN[cell].items() if verdict == "held"}


@pytest.mark.parametrize("cell", list(WRITTEN))
def test_every_row_has_its_copy(cell: str) -> None:
    """I3: for whatever the table says is held there is a copy in which it is not, or a reason why there is none."""
    turned = {name for copy in COPIES[cell] for name in expected(cell, copy)}
    assert held(cell) - turned == cannot_turn(cell) & held(cell)
    assert turned & cannot_turn(cell) == set()
    assert turned <= held(cell), "what is open with its control proves nothing"


def test_what_a_user_never_has_is_shown_as_root() -> None:
    """What the kernel keeps from every ordinary user is lost where a run of root's has no user id of its own."""
    for cell in (one for one in WRITTEN if one.endswith("root")):
        assert {name for copy in COPIES[cell] for name in expected(cell, copy)} >= THE_KERNELS


def test_every_control_is_taken_out() -> None:
    """No control is left that no copy goes without, and none is named that there is not."""
    named = {name for cell, copies in COPIES.items() for copy in copies for name in taken_out(cell, copy)}
    assert named == set(CONTROLS)
    assert {name for layers in AGAINST.values() for one in layers for name in one} == named


@pytest.mark.parametrize("name", list(CONTROLS))
def test_a_control_can_be_taken_out(name: str, tmp_path: Path) -> None:
    """What a copy changes is there to be changed, and the code is code afterwards."""
    for part in ("python", "sandbox", "supervisor"):
        shutil.copytree(CHECKOUT / "executor" / part, tmp_path / "executor" / part)
    for patch in CONTROLS[name]:
        patch(tmp_path)
    for path in (tmp_path / "executor").rglob("*.py"):
        if (code := path.read_bytes()) != (CHECKOUT / path.relative_to(tmp_path)).read_bytes():
            compile(code, str(path), "exec")


@pytest.mark.long
@pytest.mark.parametrize(("cell", "copy"), CASES)
def test_without_its_controls(cell: str, copy: tuple[str, ...]) -> None:
    """I3: without the controls that stand against them attacks get what they are after, and the others do not."""
    rung, who = cell.split()
    patches = [patch for name in taken_out(cell, copy) for patch in CONTROLS[name]]
    patches += [WITHOUT_LANDLOCK] if rung == PROCESS else []

    def patch(code: Path) -> None:
        for one in patches:
            one(code)

    with tree(patch) as (code, _):
        found = attacked(rung, who, tree=code, launcher=())
    turned = found.not_held() & held(cell)
    told = {name: (one.verdict, one.how) for name, one in found.verdicts.items()}
    wanted = expected(cell, copy) - absent()
    assert turned >= wanted, {name: told[name] for name in wanted - turned}
    assert turned - wanted <= (MORE if UID in copy else set()), {name: told[name] for name in turned - wanted}
