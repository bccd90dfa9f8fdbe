"""Files a run left: stored in pieces, written out where the user wants them and nowhere else."""

import os
from pathlib import Path

import pytest

from executor.records import files as outputs
from executor.runs import Lease, output
from executor.schemas.output import OutputFile
from secretstore.database import Database
from secretstore.errors import FolderUnusable
from tests.executor.conftest import Bench


def leave(db: Database, lease: Lease, path: str, *data: bytes) -> None:
    output.append(db, lease, [], [output.file(lease, path, sum(map(len, data)))])
    for sequence, piece in enumerate(data):
        output.append(db, lease, [], [output.file_piece(lease, path, sequence, piece)])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_come_back_byte_for_byte(db: Database, bench: Bench, tmp_path: Path) -> None:
    """In folders, in pieces, empty ones too; a withheld one is listed with its reason and not written."""
    lease = bench.running(db)
    leave(db, lease, "report.csv", b"a,b\n", b"\0\xff", b"1,2\n")
    leave(db, lease, "plots/2026/january.png", b"png")
    leave(db, lease, "empty")
    output.append(db, lease, [], [output.file(lease, "dump", None, "it contains a secret")])
    target = tmp_path / "new" / "folder"
    written = outputs.download(db, lease.run_id, 1, target)
    assert files(target) == {"report.csv": b"a,b\n\0\xff1,2\n", "plots/2026/january.png": b"png", "empty": b""}
    assert sorted(written) == sorted(target / name for name in files(target))
    assert OutputFile("dump", None, "it contains a secret") in outputs.list_files(db, lease.run_id, 1)


def test_a_file_of_the_same_name_is_replaced_whole(sqlite_db: Database, bench: Bench, tmp_path: Path) -> None:
    """Also where it is a link: the link goes, what it points to stays."""
    lease = bench.running(sqlite_db)
    leave(sqlite_db, lease, "report.csv", b"new")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"untouched")
    target = tmp_path / "target"
    target.mkdir()
    (target / "report.csv").symlink_to(elsewhere)
    outputs.download(sqlite_db, lease.run_id, 1, target)
    assert files(target) == {"report.csv": b"new"} and not (target / "report.csv").is_symlink()
    assert elsewhere.read_bytes() == b"untouched"


@pytest.mark.parametrize(
    "path", ["../outside", "a/../../outside", "/outside", "//outside", "..", ".", "", "a/b/../../../outside"]
)
def test_a_path_that_leads_out_is_not_written(sqlite_db: Database, bench: Bench, tmp_path: Path, path: str) -> None:
    """The run's code chose it, so it is not trusted: nothing appears, neither file nor folder, inside or out."""
    lease = bench.running(sqlite_db)
    leave(sqlite_db, lease, path, b"x")
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    assert outputs.download(sqlite_db, lease.run_id, 1, target) == []
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/outside").exists()


@pytest.mark.parametrize("path", ["link/file", "link/new/file", "link/new/er/file"])
def test_a_linked_folder_in_the_target_leads_nowhere(
    sqlite_db: Database, bench: Bench, tmp_path: Path, path: str
) -> None:
    """A link that an earlier run or the user left does not carry a file out, and no folder is made behind it."""
    lease = bench.running(sqlite_db)
    leave(sqlite_db, lease, path, b"x")
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (target / "link").symlink_to(outside)
    assert outputs.download(sqlite_db, lease.run_id, 1, target) == []
    assert list(outside.iterdir()) == []


def test_a_target_that_is_itself_a_link_is_the_users_choice(sqlite_db: Database, bench: Bench, tmp_path: Path) -> None:
    """The folder that was named may be a link; what a run chose is below it."""
    lease = bench.running(sqlite_db)
    leave(sqlite_db, lease, "a/b", b"x")
    (tmp_path / "real").mkdir()
    (tmp_path / "named").symlink_to(tmp_path / "real")
    outputs.download(sqlite_db, lease.run_id, 1, tmp_path / "named")
    assert files(tmp_path / "real") == {"a/b": b"x"}


def test_names_that_look_like_ours_do_not_collide(sqlite_db: Database, bench: Bench, tmp_path: Path) -> None:
    """A file, or a folder, called like something that is being written is kept; and so is the longest name there is."""
    lease = bench.running(sqlite_db)
    long = "n" * 255
    given = {"a": b"1", ".a.part": b"2", ".b.part/c": b"3", "b": b"4", long: b"5"}
    for path, data in given.items():
        leave(sqlite_db, lease, path, data)
    outputs.download(sqlite_db, lease.run_id, 1, tmp_path / "target")
    assert files(tmp_path / "target") == given


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a/b/c/d", "a/b")])
def test_names_in_each_others_way_are_told(
    sqlite_db: Database, bench: Bench, tmp_path: Path, names: tuple[str, str]
) -> None:
    """One is a file where the other needs a folder: the first is written whole, nothing half-written stays."""
    lease = bench.running(sqlite_db)
    for name in names:
        leave(sqlite_db, lease, name, name.encode())
    target = tmp_path / "target"
    with pytest.raises(FolderUnusable) as caught:
        outputs.download(sqlite_db, lease.run_id, 1, target)
    assert str(target / "a") in str(caught.value) and caught.value.hint
    first = outputs.list_files(sqlite_db, lease.run_id, 1)[0].path
    assert files(target) == {first: first.encode()}


def test_written_files_have_the_users_own_mode(sqlite_db: Database, bench: Bench, tmp_path: Path) -> None:
    """As any program of the user would write them."""
    lease = bench.running(sqlite_db)
    leave(sqlite_db, lease, "report.csv", b"1")
    before = os.umask(0o027)
    try:
        (path,) = outputs.download(sqlite_db, lease.run_id, 1, tmp_path / "target")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_program_is_written_as_one_where_that_was_asked_for(
    sqlite_db: Database, bench: Bench, tmp_path: Path
) -> None:
    """With what the user's own umask leaves of it."""
    lease = bench.running(sqlite_db)
    output.append(sqlite_db, lease, [], [output.file(lease, "tool", 0, executable=True), output.file(lease, "text", 0)])
    before = os.umask(0o027)
    try:
        outputs.download(sqlite_db, lease.run_id, 1, tmp_path / "given")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "given").iterdir()}
    assert modes == {"tool": 0o750, "text": 0o640}
