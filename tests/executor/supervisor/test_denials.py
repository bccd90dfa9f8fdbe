"""What a run is told where its sandbox refused it something, by what programs print of that."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executor.sandbox.confinement import SYSTEM_FOLDERS, View
from executor.sandbox.working.owners import COPIED
from executor.supervisor.denials import hint

SOURCE = "/srv/shop"
VIEW = View(
    rung="landlock",
    readable=(*SYSTEM_FOLDERS, SOURCE, "/data/models"),
    writable=("/var/tmp/runs/1/home", "/var/tmp/runs/1/output"),
    forbidden=(),
    covered=("/root",),
    machine=("/data/models",),
    shared=("/data/out",),
)


def working(source: str, how: str = "read-only", folder: str | None = None, why: str | None = None) -> dict[str, Any]:
    """Where a run works."""
    return {"how": how, "source": source, "folder": folder or source, "why": why}


def told(line: str, source: str = SOURCE, view: View = VIEW) -> str:
    """The first words of a hint; none where there is none."""
    return hint(f"some words\n{line}\nmore words\n", view, working(source), "/users/ada") or ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        # A write into the source root, as Python, shells, GNU's programs, Node.js, Go and Java say it.
        ("PermissionError: [Errno 13] Permission denied: 'cache.json'", "a run cannot write to its source here"),
        ("OSError: [Errno 30] Read-only file system: 'cache.json'", "a run cannot write to its source here"),
        ("sh: 1: cannot create out.csv: Permission denied", "a run cannot write to its source here"),
        ("./dump.sh: line 3: out.csv: Permission denied", "a run cannot write to its source here"),
        ("mkdir: cannot create directory \u2018target\u2019: Permission denied", "a run cannot write to its source"),
        ("Error: EACCES: permission denied, open '/srv/shop/log'", "a run cannot write to its source here"),
        ("open state.db: permission denied", "a run cannot write to its source here"),
        ("java.io.FileNotFoundException: /srv/shop/x (Permission denied)", "a run cannot write to its"),
        # Elsewhere.
        ("cat: /users/ada/.pgpass: Permission denied", "/users/ada/.pgpass is in a home folder"),
        ("cat: ../../home/bob/x: Permission denied", ""),
        ("PermissionError: [Errno 13] Permission denied: '../../home/bob/x'", "/home/bob/x is in a home folder"),
        ("cat: /root/.bashrc: No such file or directory", "/root/.bashrc is in a home folder"),
        ("sh: 1: /root/bin/tool: not found", "/root/bin/tool is in a home folder"),
        ("touch: cannot touch '/tmp/x': Permission denied", "/tmp/x is closed to runs; files to keep go to"),
        ("cat: /mnt/big/file: Permission denied", "/mnt/big/file is closed to runs; put a copy"),
        ("PermissionError: [Errno 13] Permission denied: '/srv'", "/srv holds the source root and is closed to runs"),
        ("sh: 1: http: not found", "http is not on the run's PATH; have its package installed (--with PACKAGE), or"),
        ("./t.sh: line 3: dbt: command not found", "dbt is not on the run's PATH"),
        ("/bin/sh: dbt: not found", "dbt is not on the run's PATH"),
        ("ERROR: user: not found", ""),
        ("orders: not found", ""),
        ("touch: cannot touch '/data/models/x': Read-only file system", "/data/models/x is open to runs for reading"),
        ("env: \u2018node\u2019: No such file or directory", "the first line of a program asks for node, which"),
        # What is refused without a sandbox, too, or by somebody else.
        ("cat: /etc/shadow: Permission denied", ""),
        ("cat: /nowhere/x: No such file or directory", ""),
        ("touch: cannot touch '/data/out/closed/x': Permission denied", ""),
        ("git@github.com: Permission denied (publickey).", ""),
        ('psycopg.errors.InsufficientPrivilege: permission denied for table "orders"', ""),
        ("403 Permission denied on resource project x", ""),
        ("Permission denied", ""),
        ("", ""),
    ],
)
def test_a_refusal_of_the_sandbox_has_a_hint(line: str, said: str) -> None:
    """For commands as for Python; and none for what has another cause."""
    assert told(line).startswith(said) and bool(told(line)) == bool(said), told(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ls: cannot access '/var/log': No such file or directory", "/var/log is closed to runs; put a copy"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/mnt/x.csv'", "/mnt/x.csv is closed to runs"),
        ("cat: /users/ada/.pgpass: No such file or directory", "/users/ada/.pgpass is in a home folder"),
        ("mkdir: cannot create directory '/data': Read-only file system", "/data is closed to runs"),
        # What a run has of its own, and what would not be there without a sandbox either.
        ("cat: /tmp/x: No such file or directory", "/tmp/x is not there for a run, whose /tmp is its own"),
        ("cat: /tmp/x: Permission denied", ""),
        ("cat: /var/tmp/x: No such file or directory", "/var/tmp/x is not there for a run"),
        ("cat: /var/tmp/runs/1/home/x: No such file or directory", ""),
        ("cat: /usr/share/nothing: No such file or directory", ""),
        ("cat: nothing.csv: No such file or directory", ""),
    ],
)
def test_what_is_not_in_a_box_has_a_hint(line: str, said: str) -> None:
    """There a path of the machine is not refused: it is not there."""
    found = hint(line, replace(VIEW, rung="namespace", covered=()), working(SOURCE, "overlay"), "/users/ada") or ""
    assert found.startswith(said) and bool(found) == bool(said)


def test_the_last_one_counts() -> None:
    """A program goes on after the first ones."""
    said = "cat: /mnt/a: Permission denied\ncat: /mnt/b: Permission denied\ncat: /etc/shadow: Permission denied\n"
    assert (hint(said, VIEW, working(SOURCE), "/nonexistent") or "").startswith("/mnt/b ")


def test_in_the_source_root_a_write_is_told_from_the_rest(tmp_path: Path) -> None:
    """To start what may not be executed fails anywhere; a file that only its owner reads is one for a lent user id."""
    (tmp_path / "job.sh").write_text("#!/bin/sh\n")
    (tmp_path / "data.csv").touch()
    (tmp_path / "own.cfg").touch(mode=0o600)
    (tmp_path / "own.cfg").chmod(0o600)
    lent = View("landlock", (str(tmp_path),), (), (), uid=60606)
    for view in (VIEW, lent):
        assert told("Permission denied: 'job.sh'", str(tmp_path), view) == ""
        assert told("Permission denied: 'data.csv'", str(tmp_path), view).startswith("a run cannot write")
    assert told("Permission denied: 'own.cfg'", str(tmp_path), lent) == (
        f"{tmp_path}/own.cfg is not readable for others, and this run has a user id of its own: chmod o+r"
    )


def test_a_hint_tells_nothing_of_what_is_there(tmp_path: Path) -> None:
    """I3: the same words for what exists and what does not."""
    (tmp_path / "there").touch()
    hints = [told(f"cat: {tmp_path}/{name}: Permission denied") for name in ("there", "gone")]
    assert hints[0].replace("there", "gone") == hints[1] != ""
    assert os.path.exists(tmp_path / "there")


def test_a_copy_of_the_source_can_be_written_and_the_source_cannot(tmp_path: Path) -> None:
    """What was meant for the one and named by the path of the other; and what others may not read stays closed."""
    copy = tmp_path / "work/shop"
    copy.mkdir(parents=True)
    (copy / "closed.csv").touch(0)
    at = working(SOURCE, "copy", str(copy))
    assert hint(f"PermissionError: [Errno 13] Permission denied: '{SOURCE}/out.csv'", VIEW, at, "/users/ada") == (
        f"{SOURCE}/out.csv is the source itself, which no run writes to; its working folder is a copy: name the file "
        "relative to that"
    )
    refused = "PermissionError: [Errno 13] Permission denied: 'closed.csv'"
    assert hint(refused, VIEW, at, "/users/ada") is None
    lent = replace(VIEW, uid=61_201)
    assert (hint(refused, lent, at, "/users/ada") or "").startswith(f"{SOURCE}/closed.csv is not readable for others")


def test_a_source_that_stays_read_only_is_said_to_be_so_for_a_reason() -> None:
    """It is none of the run's making."""
    at = working(SOURCE, why="it has more than 2,000 files, or 64 MiB")
    said = hint("OSError: [Errno 30] Read-only file system: 'cache.json'", VIEW, at, "/users/ada") or ""
    assert said.startswith("a run cannot write to its source here, as it has more than 2,000 files, or 64 MiB; write")


def test_what_was_not_copied_of_somebody_elses_source_is_told_from_the_rest(tmp_path: Path) -> None:
    """Only of what is there, is not the run's and could not be made so; with what mends it for this worker."""
    source, upper = tmp_path / "shop", tmp_path / "upper"
    for folder in (source / "data", source / "kept", upper / "kept", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    for path in (source / "big.csv", source / "data/old.csv", source / "log.txt", upper / "log.txt"):
        path.touch(0o644)
    (source / "own.cfg").touch()
    (source / "own.cfg").chmod(0o600)
    (tmp_path / "elsewhere/new.csv").touch()
    (upper / "way").symlink_to(tmp_path / "elsewhere")
    (source / "link").symlink_to(tmp_path / "elsewhere")
    at = {**working(str(source), "overlay"), "upper": str(upper), "owners": COPIED}
    box = replace(VIEW, rung="namespace", readable=(*SYSTEM_FOLDERS, str(source)), uid=os.getuid() + 1)

    def said(name: str, words: str = "Permission denied", view: View = box) -> str:
        return hint(f"OSError: {words}: '{name}'", view, at, "/users/ada") or ""

    words = "belongs to another user than this run has, and was not copied for it: that is done with what others can"
    for name in ("big.csv", "data/old.csv", "data/new.csv"):
        assert said(name).startswith(f"{source}/{name} {words}") and "--bundle" in said(name), name
    # Made by the run or copied for it; in its own folders; through a link; not there at all.
    for name in ("log.txt", "new.csv", "kept/new.csv", "way/new.csv", "link/new.csv", "nowhere/new.csv"):
        assert said(name) == "", name
    for name in ("gone.csv", "data/gone.csv", "big.csv"):
        assert said(name, "No such file or directory") == "", name
    assert said("own.cfg") == (
        f"{source}/own.cfg is not readable for others, and this run has a user id of its own: chmod o+r"
    )
    # A run with the user of its worker, of which these are.
    assert said("big.csv", view=replace(box, uid=None)) == ""
