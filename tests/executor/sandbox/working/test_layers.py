"""A layer of a run's own over a source, whoever owns that: as root, which lends user ids, and as a user."""

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.sandbox.working.layers import clear_written
from executor.sandbox.working.owners import COPIED, MAPPED, plan
from tests.executor.conftest import ROOT

LENT, USER, OTHER = 61_301, 60_600, 60_777
# In namespaces of its own: lays a layer over a source as its user, tries things there, and prints what came of each.
LAYERED = """
import ctypes, json, os, sqlite3, sys
sys.path[:0] = [sys.argv[1]]
source, written, target, uid, how, act = json.loads(sys.argv[2])
from executor.sandbox import kernel
from executor.sandbox.box import namespaces
from executor.sandbox.working import layers
me, group = os.geteuid(), os.getegid()
kernel.unshare(namespaces.NEWNS | (namespaces.NEWUSER if me else 0))
if me:
    namespaces.map_user(me, group)
kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
flags = os.O_PATH | os.O_DIRECTORY
layers.mount_over(os.open(source, flags), os.open(written, flags), target, uid, "/proc", how)
if uid is not None:
    os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
os.chdir(target)
found = {}
def attempt(name, act):
    try:
        found[name] = act()
    except (OSError, sqlite3.Error) as error:
        found[name] = getattr(error, "strerror", None) or str(error)
def write(path, mode="w"):
    with open(path, mode) as out:
        out.write("x")
    return "done"
def insert():
    with sqlite3.connect("shop.db") as db:
        db.execute("INSERT INTO orders VALUES (2)")
    return db.execute("SELECT count(*) FROM orders").fetchone()[0]
exec(act)
print(json.dumps(found))
"""
# What people's scripts do beside themselves.
WORK = """
attempt("new", lambda: write("new.txt"))
attempt("new in a folder", lambda: write("data/new.txt"))
attempt("append", lambda: write("data/log.txt", "a"))
attempt("sqlite", insert)
"""
WORKED = {"new": "done", "new in a folder": "done", "append": "done", "sqlite": 2}

Layered = Callable[..., dict[str, Any]]
LONG = pytest.mark.long
DAILY = [(None, "other's", True), (None, "other's", False), (USER, "root's", False), (USER, "run's", False)]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder whose every name others may pass through, and which goes whatever is in it."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="sealrun-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def layered(place: Path, ordinary_python: Path) -> Layered:
    """Lays a layer over a source, as root that lends a user id or as a user, and tells what came of an act."""

    def run(source: Path | str, act: str, user: int | None = None, how: str = "") -> dict[str, Any]:
        if os.geteuid() != 0 and user is None:
            pytest.skip("lending user ids takes root")
        written, target = place / "written", place / "target"
        target.mkdir(exist_ok=True)
        account: dict[str, Any] = {}
        if user is not None and os.geteuid() == 0:
            account = {"user": user, "group": user, "extra_groups": []}
        make = (
            "import sys; sys.path[:0] = [sys.argv[1]]; from pathlib import Path; "
            "from executor.sandbox.working.layers import prepare_written; "
            "prepare_written(Path(sys.argv[2]), int(sys.argv[3]) or None)"
        )
        lent = LENT if user is None else None
        if user is not None:
            (place / "own").mkdir(exist_ok=True)
            os.chown(place / "own", user, user)
            written = place / "own/written"
        words = [str(ROOT), str(written), str(lent or 0)]
        subprocess.run([ordinary_python, "-c", make, *words], check=True, **account)
        told = json.dumps([str(source), str(written), str(target), lent, how, act])
        ended = subprocess.run(
            [ordinary_python, "-c", LAYERED, ROOT, told], capture_output=True, text=True, cwd="/", **account
        )
        assert ended.returncode == 0, ended.stderr
        return dict(json.loads(ended.stdout))

    return run


def source(place: Path, owner: int, mode: int = 0o644) -> Path:
    """A source as somebody has it."""
    import sqlite3

    made = place / "source"
    (made / "data").mkdir(parents=True)
    (made / "data/log.txt").write_text("1")
    with sqlite3.connect(made / "shop.db") as db:
        db.execute("CREATE TABLE orders (id)")
        db.execute("INSERT INTO orders VALUES (1)")
    for path in made.rglob("*"):
        path.chmod(0o755 if path.is_dir() else mode)
        os.chown(path, owner, owner)
    os.chown(made, owner, owner)
    return made


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_uid) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.skipif(os.geteuid() != 0, reason="sources of other owners take root to make")
@pytest.mark.parametrize(
    ("user", "owner", "readable_anyway"),
    [
        pytest.param(user, owner, anyway, marks=() if (user, owner, anyway) in DAILY else LONG)
        for user in (None, USER, 65_534)
        for owner in ("run's", "root's", "other's")
        for anyway in (True, False)
    ],
)
def test_a_script_changes_what_lies_beside_it_whoever_owns_that(
    place: Path, layered: Layered, user: int | None, owner: str, readable_anyway: bool
) -> None:
    """New files in new and existing folders, an append, a database in place; nothing of the source is changed."""
    own = LENT if user is None else user
    uid = {"run's": own, "root's": 0, "other's": OTHER}[owner]
    # As the worker decides it, which is in no namespace.
    how = "" if uid == own else MAPPED if user is None and readable_anyway else COPIED
    # What is its owner's alone can only be changed by whoever is seen as that.
    made = source(place, uid, 0o600 if how == MAPPED else 0o644)
    before = tree(made)
    assert layered(made, WORK, user, how) == WORKED
    assert tree(made) == before


def test_what_is_done_about_an_owner() -> None:
    """A swap of owners lends a run its owner's eyes: only where the submitter has those anyway, and only as root."""
    me = os.geteuid()
    assert plan(me, None, readable_anyway=True) == plan(LENT, LENT, readable_anyway=False) == ""
    assert plan(me + 1, None, readable_anyway=True) == COPIED
    assert plan(OTHER, LENT, readable_anyway=True) == MAPPED
    assert plan(OTHER, LENT, readable_anyway=False) == COPIED


@pytest.mark.skipif(os.geteuid() != 0, reason="sources of other owners take root to make")
@pytest.mark.parametrize("how", ["", COPIED])
def test_what_others_may_not_read_a_run_may_not_read_through_its_layer(place: Path, layered: Layered, how: str) -> None:
    """I3: not by becoming the owner of a folder in its layer, below which the kernel would read with root's rights."""
    made = source(place, OTHER)
    (made / "secret.txt").write_text("s")
    for path, mode in (("closed", 0o700), ("listed", 0o744), ("passed", 0o711)):
        (made / path).mkdir()
        (made / path / "file").write_text("s")
        (made / path).chmod(mode)
    (made / "secret.txt").chmod(0o600)
    for path in made.rglob("*"):
        os.chown(path, OTHER, OTHER)
    act = """
for path in ("closed", "listed", "passed", "secret.txt"):
    attempt(f"chmod {path}", lambda: os.chmod(path, 0o777))
for path in ("closed/file", "listed/file", "secret.txt"):
    attempt(path, lambda: open(path).read())
for path in ("closed", "passed"):
    attempt(path, lambda: os.listdir(path))
"""
    found = layered(made, act, None, how)
    assert set(found.values()) <= {"Permission denied", "Operation not permitted", "Read-only file system"}, found


@pytest.mark.parametrize(
    ("user", "name"),
    [(None, "a:{0}"), (USER, "a,\\b=c\nd")]
    + [
        pytest.param(user, name, marks=LONG)
        for user in (None, USER)
        for name in ("a:{0}", "a,b", "a\\b", "a=b", "a\nb", "a b", "lowerdir=x", ":", "upperdir={0}", "\\,\\:")
    ],
)
def test_a_source_may_have_any_name(place: Path, layered: Layered, user: int | None, name: str) -> None:
    """A name is no option: a folder called `a:/home/x` would add that one as a layer."""
    (place / "victim").mkdir()
    (place / "victim/secret").write_text("s")
    named = name.format(str(place / "victim"))
    made = place / "made" / named
    made.mkdir(parents=True)
    (made / "file").write_text("here")
    if user is not None:
        os.chown(made, user, -1)
    act = "attempt('all', lambda: sorted(os.listdir())); attempt('new', lambda: write('new'))"
    assert layered(made, act, user) == {"all": ["file"], "new": "done"}


def test_a_source_may_have_a_very_long_path(place: Path, layered: Layered) -> None:
    """As long as the kernel takes one."""
    made = place
    while len(str(made)) < 3_700:
        made /= "d" * 200
    made.mkdir(parents=True)
    (made / "file").touch()
    assert layered(made, "attempt('new', lambda: write('new'))", USER if os.geteuid() == 0 else os.geteuid()) == {
        "new": "done"
    }


def test_a_layer_lends_no_rights(place: Path, layered: Layered) -> None:
    """No program in it is set-user-id, nothing is a device, and a removed file is gone only for the run."""
    made = place / "source"
    made.mkdir()
    shutil.copy("/usr/bin/id", made / "id")
    (made / "id").chmod(0o4755)
    (made / "old").touch()
    act = """
import subprocess
attempt("id", lambda: subprocess.run(["./id", "-u"], capture_output=True, text=True).stdout.strip())
(mount,) = [line.split() for line in open("/proc/self/mounts") if " overlay " in line]
attempt("flags", lambda: sorted({"nosuid", "nodev"} & set(mount[3].split(","))))
attempt("remove", lambda: os.unlink("old"))
attempt("left", lambda: os.listdir())
"""
    found = layered(made, act)
    assert found == {"id": str(LENT), "flags": ["nodev", "nosuid"], "remove": None, "left": ["id"]}
    whiteout = (place / "written/upper/old").lstat()
    assert stat.S_ISCHR(whiteout.st_mode) and whiteout.st_rdev == 0 and (made / "old").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="lending user ids takes root")
def test_what_lies_below_a_layer_is_only_read(place: Path, layered: Layered) -> None:
    """The source as it is mounted for the run's user, which the layer hides, would take no change and lends nothing."""
    act = """
below = [line.split()[3].split(",") for line in open("/proc/self/mounts") if line.split()[1] == target][0]
attempt("flags", lambda: sorted({"ro", "nosuid", "nodev"} & set(below)))
attempt("change", lambda: write("data/log.txt", "a"))
"""
    assert layered(source(place, OTHER), act, None, MAPPED) == {"flags": ["nodev", "nosuid", "ro"], "change": "done"}


@pytest.mark.parametrize("user", [None, USER], ids=["root", "user"])
def test_a_replaced_folder_is_seen_to_be_one(place: Path, layered: Layered, user: int | None) -> None:
    """By an attribute that whoever collects may read."""
    made = place / "source"
    (made / "data").mkdir(parents=True)
    (made / "data/old").touch()
    owner = LENT if user is None else user
    for path in (made, *made.rglob("*")):
        os.chown(path, owner, owner)
    act = """
import shutil
attempt("replace", lambda: (shutil.rmtree("data"), os.mkdir("data"), write("data/new"))[2])
attempt("left", lambda: os.listdir("data"))
"""
    assert layered(made, act, user) == {"replace": "done", "left": ["new"]}
    upper = place / ("written/upper" if user is None else "own/written/upper")
    assert os.getxattr(upper / "data", "user.overlay.opaque") == b"y"


@pytest.mark.parametrize("user", [None, USER], ids=["root", "user"])
def test_what_the_kernel_left_of_a_layer_is_known_and_removed(place: Path, layered: Layered, user: int | None) -> None:
    """All of it, and nothing of what the run wrote."""
    made = source(place, LENT if user is None else user)
    layered(made, WORK, user)
    written = place / ("written" if user is None else "own/written")
    kept = tree(written / "upper")
    assert len(list((written / "work").rglob("*"))) > 3
    clear_written(written)
    assert list((written / "work").iterdir()) == [] and kept and tree(written / "upper") == kept
    clear_written(written)
    (written / "work/else/work").mkdir(parents=True)
    clear_written(written)
    assert (written / "work/else/work").is_dir(), "what it does not know is left to whoever removes all of it"
