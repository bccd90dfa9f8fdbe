"""The server's process can read no key, and does all else that it is for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from executor.sandbox import kernel
from tests.rig import CHECKOUT

pytestmark = pytest.mark.long

CODE = """
import json, os, resource, sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from executor.api.confining import confine, own_folder
from executor.operations import projects, environments
from executor.operations.deployment import Deployment
from executor.schemas.projects import NewProject
from executor.settings import read_here
from secretstore.audit import Actor

settings, who = read_here(), Actor("ada", "api")
at = Deployment.open(settings, own_folder=own_folder(settings))
projects.make_key_file(at, who)
home = settings.store.home
(home / "login").write_text("a token")
bounds = confine(at)

def tried(path, how="rb"):
    try:
        open(path, how).close()
    except OSError as problem:
        return problem.strerror
    return "opened"

at.db.close()  # and opened again, with the log beside the file
projects.create(at, who, NewProject(name="shop"))  # whose key pair is made by a process that it starts
print(json.dumps({
    "landlock": bounds.landlock,
    "key": tried(home / "keys/local.key"),
    "key by another way": tried(home / "server/../keys/./local.key"),
    "public half": tried(home / "keys/local.pub"),
    "another file of the home": tried(home / "login"),
    "a new key": tried(home / "keys/other.key", "wb"),
    "a file outside": tried(sys.argv[2]),
    "own folder": tried(home / "server/tmp/x", "wb"),
    "trust": tried("/etc/hosts"),
    "memory of its parent": tried(f"/proc/{os.getppid()}/mem"),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "dumpable": os.stat("/proc/self/mem").st_uid,
    "projects": [one.name for one in projects.list_(at, who)],
}))
"""


@pytest.mark.skipif(not kernel.landlock_abi(), reason="this kernel has no Landlock")
def test_i1_it_reads_no_key_file_and_makes_key_pairs(tmp_path: Path) -> None:
    """Whatever path leads there; the half that wraps is read, the database written, and files of its own are made."""
    outside = tmp_path / "outside"
    outside.write_text("anything")
    found = _confined(tmp_path, str(outside))
    assert found.pop("landlock") == kernel.landlock_abi()
    refused = os.strerror(13)
    assert found == {
        "key": refused,
        "key by another way": refused,
        "public half": "opened",
        "another file of the home": refused,
        "a new key": refused,
        "a file outside": refused,
        "own folder": "opened",
        "trust": "opened",
        "memory of its parent": refused,
        "core": [0, 0],
        "dumpable": 0,
        "projects": ["shop"],
    }


def test_i9_without_landlock_that_is_told(tmp_path: Path) -> None:
    """The server's user decides then, and the server says so."""
    found = _confined(tmp_path, "/etc/hosts", str(CHECKOUT / "tests/no_landlock.py"))
    assert (found["landlock"], found["key"], found["core"]) == (0, "opened", [0, 0])


def _confined(folder: Path, outside: str, *before: str) -> dict[str, object]:
    environ = {"PATH": os.environ["PATH"], "SEALRUN_HOME": str(folder / "home"), "HOME": str(folder)}
    command = [sys.executable, *before, "-c", CODE, str(CHECKOUT), outside]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    answer: dict[str, object] = json.loads(ended.stdout)
    return answer
