"""The attacks bite: bare, and in copies of the product with one control taken out, they get what they are after.

An attack that would fail anyway proves nothing by failing. The product has no switch for any of this: each test changes
the files of a copy.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.conformance.catalog import CATALOG, MAIN, NONE
from executor.conformance.judging import Heard, judge
from executor.conformance.layout import laid_out
from tests.leaks.scene import tree
from tests.rig import CHECKOUT, as_ordinary, ordinary_account
from tests.sandbox.attacking import attacked

THE_KERNELS = {
    "write-system", "proc-sys", "devices", "file-handles", "setuid", "mount", "pivot-root", "setns", "kernel-code",
    "kernel-log", "raw-sockets", "terminal", "bpf",
}  # fmt: skip
"""What an ordinary user is refused anyway; what a run must not lose is told by the same attacks as root's."""

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

Patch = Callable[[Path], None]


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
    held = {name for name in names if verdicts[name].verdict == "held"}
    assert held - TOLD_BY_THE_LINE <= THE_KERNELS, {name: verdicts[name].how for name in held}
    assert len(held) < len(names) / 2


def plan_of(pid: str) -> str:
    """The plan among the arguments of a process."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((Path(os.fsdecode(word)).name for word in words if b"/plan-" in word), "")


def edited(file: str, found: str, instead: str) -> Patch:
    """A change of one place in one file, which has to be there."""

    def patch(tree_: Path) -> None:
        path = tree_ / file
        text, count = re.subn(found, instead, path.read_text(), flags=re.MULTILINE)
        assert count, f"{file} has no {found}"
        path.write_text(text)

    return patch


CALLS = "executor/sandbox/filter/calls.py"
SOCKETS = "executor/sandbox/box/sockets.py"
INIT = "executor/sandbox/box/init.py"
TAKEN_OUT = {
    "Landlock": (
        [edited("executor/sandbox/confinement.py", r"^( +)rules\.restrict_self\(\)", r"\1pass")],
        "landlock", {"environ", "descriptors", "key-file", "workers-home", "other-run", "write-outside", "signals"},
    ),
    "lines of the filter's table": (
        [edited(CALLS, rf'^ +_(both|below)\("{name}",.*$', "") for name in (
            "io_uring_setup", "perf_event_open", "userfaultfd", "keyctl", "add_key", "prlimit64", "setpriority",
        )],
        "landlock", {"io-uring", "perf", "userfaultfd", "keyring", "keys-kept", "limits-of-others"},
    ),
    "a process list of its own": (
        [edited("executor/sandbox/box/root.py", r"^    if own:", "    if False:")], "namespace", {"command-lines"},
    ),
    "the ipc namespace": ([edited(INIT, r'"ipc": namespaces\.NEWIPC, ', "")], "namespace", {"shared-memory"}),
    "a look at what a socket's name leads to": (
        [edited(SOCKETS, r"stat\.S_ISSOCK\(", "stat.S_ISREG(")], "namespace", {"covered"},
    ),
    "the kernel's own way to it": (
        [edited(SOCKETS, r"^def _place\(.*$", r"\g<0>\n    return os.path.realpath(path)")], "namespace", {"starts"},
    ),
    "the network namespace": (
        [
            edited(INIT, r'"none": namespaces\.NEWNET', '"none": 0'),
            edited(INIT, r"namespaces\.loopback_up\(.*$", "pass"),
        ],
        "namespace", {"none-loopback"},
    ),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("control", list(TAKEN_OUT))
def test_without_a_control(control: str) -> None:
    """I3: with one control taken out of a copy, the attacks that it stands against get what they are after."""
    patches, rung, expected = TAKEN_OUT[control]
    written = json.loads((CHECKOUT / "tests/sandbox/held.json").read_text())[f"{rung} user"]
    assert {name for name in expected if written[name] != "held"} == set(), "what is open with it proves nothing"

    def patch(code: Path) -> None:
        for one in patches:
            one(code)

    with tree(patch) as (code, _):
        found = attacked(rung, "user", tree=code)
    assert found.not_held() >= expected
