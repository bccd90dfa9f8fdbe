"""The place in which the attacks happen: a canary with its files and sockets, and a source with the attacks in it."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_FOLDERS = ("home", "user", "runs", "cache", "readable", "writable")


@dataclass
class Place:
    """Its folders, and the canary that lives in them."""

    base: Path
    token: str
    canary: "subprocess.Popen[bytes]"
    plan: dict[str, Any]

    @property
    def source(self) -> Path:
        """Where the attacks are."""
        return self.base / "jobs"

    @property
    def plan_name(self) -> str:
        """The file with the plan, which is among the arguments of all processes of the run, and of no other."""
        return f"plan-{self.token}.json"

    def seen(self) -> dict[str, Any]:
        """What the canary says became of it."""
        assert self.canary.stdin is not None and self.canary.stdout is not None
        self.canary.stdin.write(b"\n")
        self.canary.stdin.flush()
        return dict(json.loads(self.canary.stdout.readline()))

    def argv(self, names: Sequence[str]) -> list[str]:
        """What the module of the attacks is started with."""
        return [str(self.source / self.plan_name), *names]


def make_folders(base: Path, account: int | None) -> Path:
    """Make what the canary and the attacks live in, for that user; returns the source."""
    jobs = base / "jobs"
    for folder in (*(base / name for name in _FOLDERS), jobs / "own", base / "runs/other-1"):
        folder.mkdir(mode=0o755 if folder.name in ("readable", "own") else 0o700, parents=True, exist_ok=True)
        if account is not None and os.geteuid() == 0:
            os.chown(folder, account, account)
    (base / "writable").chmod(0o1777)
    return jobs


@contextlib.contextmanager
def laid_out(
    base: Path, ours: Mapping[str, int], *, launcher: Sequence[str] = (), account: int | None = None, **more: Any
) -> Iterator[Place]:
    """Make it, and take it away again but for the folders.

    Args:
        base: a folder with `jobs`, the source; what else there is to be is made in it.
        ours: processes of sealrun, by what they are.
        launcher: what starts a Python as the worker's user, where that is another one.
        account: that user.
        more: what else is in the plan.
    """
    token = secrets.token_hex(12)
    jobs = make_folders(base, account)
    shutil.copytree(
        _HERE / "attacks", jobs / "attacks", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
    )
    layout = {
        "token": token,
        "folders": {name: str(base / name) for name in ("user", "runs", "cache")},
        "files": {
            "home": str(base / "home/canary"),
            "key": str(base / "home/canary.key"),
            "user": str(base / "user/canary"),
            "modes": str(base / "user/modes"),
            "other": str(base / "runs/other-1/canary"),
            "cache": str(base / "cache/canary"),
            "source": str(jobs / "own/canary"),
        },
        "sockets": {
            "source": str(jobs / "own"),
            "readable": str(base / "readable"),
            "writable": str(base / "writable"),
            "elsewhere": str(base / "user"),
        },
        "ours": dict(ours),
        "servers": more.pop("servers", []),
    }
    command = [*(launcher or [sys.executable]), "-I", str(_HERE / "canary.py"), json.dumps(layout)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as canary:
        assert canary.stdin is not None and canary.stdout is not None
        try:
            plan = {**json.loads(canary.stdout.readline()), **more}
            place = Place(base, token, canary, plan)
            (jobs / place.plan_name).write_text(json.dumps(plan))
            (jobs / place.plan_name).chmod(0o644)
            yield place
        finally:
            canary.stdin.close()
            try:
                canary.wait(5)
            except subprocess.TimeoutExpired:
                canary.kill()
