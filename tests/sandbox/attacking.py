"""All attacks in the runs of one real worker, at one rung and under one user, and what came of each."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from executor.conformance import catalog
from executor.conformance.judging import KEPT, Heard, Verdict, judge, left_of
from executor.conformance.layout import Place, laid_out, make_folders
from executor.records import files
from executor.runs.workers import list_workers
from tests.processes import eventually
from tests.rig import CHECKOUT, WEAKER, Rig, as_ordinary, module, ordinary_account, rig

WHO = ("root", "user")


@dataclass(frozen=True)
class Attacked:
    """One cell: verdicts by attack, and what the receipt says was in force."""

    verdicts: Mapping[str, Verdict]
    rung: str
    parts: Mapping[str, str]

    def not_held(self) -> set[str]:
        """What the attacks got."""
        return {name for name, one in self.verdicts.items() if one.verdict == "not held"}


def account_of(who: str) -> int | None:
    """The account of a worker; skips where the tests cannot have it."""
    if who == "root":
        if os.geteuid() != 0:
            pytest.skip("needs tests that run as root")
        return None
    return ordinary_account()


def attacked(rung: str, who: str, tree: Path = CHECKOUT, launcher: Sequence[str] | None = None) -> Attacked:
    """Let a worker of that user on a machine of that rung run them all.

    Args:
        rung: the best that the worker can give.
        who: whose worker, of `WHO`.
        tree: the product, or a changed copy.
        launcher: what starts the worker, instead of what makes this machine one of that rung.
    """
    account = account_of(who)
    with rig(account=account, tree=tree) as made, contextlib.ExitStack() as ending:
        base = made.folder
        make_folders(base, account)
        made.project("shop")
        environ = {
            "SEALRUN_CACHE": str(base / "cache"),
            "SEALRUN_READABLE": str(base / "readable"),
            "SEALRUN_WRITABLE": f"shop={base / 'writable'}",
        }
        worker = made.start_worker(launcher=WEAKER[rung] if launcher is None else launcher, environ=environ, slots=4)
        if made.rung(worker) != rung:
            pytest.skip(f"the best rung here is {made.rung(worker)}")
        become = [sys.executable] if account is None else as_ordinary(base, account)
        more = ending.enter_context(real_programs(base, become))
        ours = {"worker": worker.pid, "zygote": worker.zygote}
        place = ending.enter_context(laid_out(base, ours, launcher=become, account=account, servers=servers(), **more))
        heard = runs_of(made, place)
        seen = place.seen() | {"tmux": any(Path(proof).exists() for proof in more["tmux"].values())}
        controls = heard[catalog.MAIN].controls
        found = judge(heard, seen, place.token)
        return Attacked({one.attack: one for one in found}, rung, dict(controls.get("parts", {})))


def runs_of(made: Rig, place: Place) -> dict[str, Heard]:
    """The runs of one cell, beside each other, each heard to its end."""
    given: dict[str, dict[str, object]] = {catalog.NONE: {"network": "none"}, **catalog.BOMBS}
    heard: dict[str, Heard] = {}
    waiting: dict[str, str] = {}
    (worker,) = list_workers(made.db)
    for name in catalog.RUNS:
        if name == catalog.NONE and "none" not in worker.networks:
            heard[name] = Heard(why_not="this machine can give no run the network none")
            continue
        target = module("attacks.run", *place.argv(catalog.names(name)))
        waiting[name] = made.submit(target, timeout=60, kept_bytes=KEPT, output_limit="drop", **given.get(name, {}))
    for name, run_id in waiting.items():
        heard[name] = one(made, run_id)
    main = heard[catalog.MAIN]
    with contextlib.suppress(AssertionError):
        eventually(lambda: not left_of(place.plan_name), 2, "nothing of the runs is left")
    main.left = left_of(place.plan_name)
    for pid in main.left:  # in a copy, where nothing else ends them
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return heard


def one(made: Rig, run_id: str) -> Heard:
    """What one run left."""
    ended = made.ended(run_id, within=90)
    view = ended.view
    with tempfile.TemporaryDirectory() as folder:
        content = b"".join(path.read_bytes() for path in files.download(made.db, run_id, 1, Path(folder)))
    receipt = view.receipt
    return Heard(
        stdout=ended.stdout.encode(),
        printed=len(ended.stdout) + len(ended.stderr),
        files=content,
        exit_code=view.exit_code,
        reason=view.reason,
        message=view.message,
        controls=receipt.controls if receipt is not None else {},
    )


@contextlib.contextmanager
def real_programs(base: Path, become: list[str]) -> Iterator[dict[str, object]]:
    """A tmux and an ssh-agent of the worker's user, in each folder in which a run may find their sockets."""
    tmux, agents = {}, []
    with contextlib.ExitStack() as ending:
        for number, folder in enumerate((base / "jobs/own", base / "readable", base / "writable", base / "user")):
            if shutil.which("tmux"):
                path = str(folder / "tmux")
                start(
                    become, "tmux", "-f", os.devnull, "-S", path, "new-session", "-d", "sleep 100", home=base / "user"
                )
                ending.callback(start, become, "tmux", "-S", path, "kill-server", home=base / "user")
                tmux[path] = str(base / "user" / f"proof-{number}")
            if shutil.which("ssh-agent"):
                said = start(become, "ssh-agent", "-a", str(folder / "agent"), home=base / "user")
                pid = int(said.partition("SSH_AGENT_PID=")[2].partition(";")[0])
                ending.callback(os.kill, pid, 15)
                agents.append(str(folder / "agent"))
        yield {"tmux": tmux, "agents": agents}


def start(become: list[str], *words: str, home: Path) -> str:
    """Run a program as the worker's user and return what it printed."""
    told = [*become, "-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])", *words]
    environ = {"PATH": os.defpath, "HOME": str(home), "LANG": "C.UTF-8", "TERM": "xterm", "SHELL": "/bin/sh"}
    return subprocess.run(told, cwd="/", env=environ, capture_output=True, text=True, check=True).stdout


def servers() -> list[tuple[str, int]]:
    """Those that the tests were given."""
    found = []
    for word in ("REDIS", "POSTGRES", "AMQP"):
        if url := os.environ.get(f"SEALRUN_TEST_{word}_URL"):
            parts = urlsplit(url)
            if parts.hostname and parts.port:
                found.append((parts.hostname, parts.port))
    return found
