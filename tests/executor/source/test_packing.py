"""What belongs to a source root, and the archive made of it: complete, the same everywhere, or refused with a name."""

import io
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.errors import SourceRefused
from executor.source import packing
from executor.source.packing import leads_inside, listing, pack
from tests.executor.source.test_ignoring import write

MIB = 1 << 20


def shop(root: Path) -> Path:
    """A source root with a bit of everything."""
    write(root, "job.py", "print(1)\n")
    write(root, "pieces/é/deep.py", "deep")
    write(root, "pieces/tool", "#!/bin/sh\n")
    (root / "pieces/tool").chmod(0o4711)
    (root / "empty").mkdir()
    (root / "pieces/up").symlink_to("../job.py")
    write(root, "n" * 200 + "/" + "m" * 200)
    return root


def names(root: Path) -> set[str]:
    return {entry.path for entry in listing(root, MIB).entries}


def test_files_of_values_are_left_out_unless_a_line_takes_them_in(tmp_path: Path) -> None:
    """Nobody has to think of it; a template is none. What an ignore file names itself is not told."""
    for path in (".env", "deep/.env.prod", ".envrc", ".env.example", "prod.env", "celerybeat-schedule-wal", "job.py"):
        write(tmp_path, path)
    found = listing(tmp_path, MIB)
    assert {entry.path for entry in found.entries} == {"deep", ".env.example", "prod.env", "job.py"}
    assert found.unasked == (".env", ".envrc", "deep/.env.prod")

    write(tmp_path, ".gitignore", ".env\n")
    write(tmp_path, "deep/.sealrunignore", "!.env.*\n")
    found = listing(tmp_path, MIB)
    assert found.has("deep/.env.prod") and not found.has(".env")
    assert found.unasked == (".envrc",)


def test_an_archive_has_files_folders_and_links(tmp_path: Path) -> None:
    """As any tar has them, without times and owners; modes say whether a file may be executed, and no more."""
    packed = pack(listing(shop(tmp_path), MIB))
    with tarfile.open(fileobj=io.BytesIO(packed.tar)) as tar:
        members = {member.name: member for member in tar}
        text = tar.extractfile("job.py").read()  # type: ignore[union-attr]
    assert set(members) == {
        "job.py", "pieces", "pieces/é", "pieces/é/deep.py", "pieces/tool", "pieces/up", "empty", "n" * 200,
        "n" * 200 + "/" + "m" * 200,
    }  # fmt: skip
    assert list(members) == sorted(members, key=str.encode)
    assert text == b"print(1)\n" and members["pieces/up"].linkname == "../job.py"
    assert {oct(member.mode) for member in members.values() if member.isfile()} == {"0o644", "0o755"}
    assert members["pieces/tool"].mode == 0o755 and members["empty"].isdir()
    assert {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in members.values()} == {(0, 0, 0, "", "")}
    assert packed.entries == 9


def test_the_same_content_is_the_same_archive(tmp_path: Path) -> None:
    """Wherever it is, whenever it was written, whoever owns it, in whichever order; a single bit makes it another."""
    one, two = shop(tmp_path / "one"), tmp_path / "two"
    (two / "pieces/é").mkdir(parents=True)
    shop(two)
    for path in two.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
        if not path.is_symlink() and path.name != "tool":
            path.chmod(0o700 if path.is_dir() else 0o600)
    first, second = pack(listing(one, MIB)), pack(listing(two, MIB))
    assert first.digest == second.digest and first.tar == second.tar
    (two / "job.py").chmod(0o755)
    assert pack(listing(two, MIB)).digest != first.digest


def test_what_never_belongs_to_it(tmp_path: Path) -> None:
    """A checkout's history, environments of this machine under any name, compiled code; at any depth."""
    for path in (".git/HEAD", "sub/.git", ".venv/bin/x", "env-3/pyvenv.cfg", "env-3/lib/x", "a/__pycache__/x.pyc"):
        write(tmp_path, path)
    write(tmp_path, "a/pyvenv.py")
    write(tmp_path, ".gitignore", "ignored\n")
    write(tmp_path, "ignored/x")
    assert names(tmp_path) == {".gitignore", "a", "a/pyvenv.py", "sub"}


def test_too_much_is_told_with_the_largest_files(tmp_path: Path) -> None:
    """Before anything is read: a sparse file of 2 GiB costs nothing."""
    write(tmp_path, "data/huge.bin")
    os.truncate(tmp_path / "data/huge.bin", 2 << 30)
    write(tmp_path, "data/large.bin", b"x" * 2048)
    with pytest.raises(SourceRefused) as caught:
        listing(tmp_path, 64 * MIB)
    assert "data/huge.bin (2 GiB), data/large.bin (2 KiB)" in str(caught.value)
    assert "at most 64 MiB" in str(caught.value) and ".sealrunignore" in (caught.value.hint or "")
    write(tmp_path, ".sealrunignore", "huge.bin\n")
    assert listing(tmp_path, 64 * MIB).size == 2048 + len("huge.bin\n")


def test_too_many_are_told_with_the_fullest_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, folders and links count alike, and far above the limit nobody counts on."""
    for number in range(12):
        write(tmp_path, f"node_modules/{number}.js")
    write(tmp_path, "src/a.py")
    monkeypatch.setattr(packing, "ENTRIES_LIMIT", 10)
    monkeypatch.setattr(packing, "_COUNTED_LIMIT", 100)
    with pytest.raises(
        SourceRefused, match=r"too many files .* 15, at most 10; .* in node_modules/ \(12\), src/ \(1\)"
    ):
        listing(tmp_path, MIB)
    monkeypatch.setattr(packing, "_COUNTED_LIMIT", 11)
    with pytest.raises(SourceRefused, match="more than 11, at most 10"):
        listing(tmp_path, MIB)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.symlink_to("/etc/passwd"), "a link to /etc/passwd, which exists on this machine only"),
        (lambda path: path.symlink_to("../../x"), "a link to ../../x, which leads out"),
        (lambda path: path.symlink_to("a/../b"), "a link to a/../b, which leads out"),
        (lambda path: path.symlink_to(b"\xff"), "not UTF-8"),
        (os.mkfifo, "not a file, folder or link"),
        (_socket, "not a file, folder or link"),
        (lambda path: write(path, "x" * 240 + "/" + "y" * 240 + ("/" + "z" * 240) * 7), "more than 2,048 bytes"),
    ],
)
def test_what_cannot_be_uploaded_is_refused_by_name(tmp_path: Path, make: Callable[[Path], None], why: str) -> None:
    """Nothing is left out silently but what an ignore file names; named there, it is out of the way."""
    (tmp_path / "sub").mkdir()
    make(tmp_path / "sub/odd")
    with pytest.raises(SourceRefused) as caught:
        listing(tmp_path, MIB)
    assert "sub/odd" in str(caught.value) and why in str(caught.value)
    write(tmp_path, ".sealrunignore", "odd\n")
    assert names(tmp_path) == {".sealrunignore", "sub"}


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """It is shown with what its bytes are."""
    with open(os.fsencode(tmp_path) + b"/caf\xe9", "wb"):
        pass
    with pytest.raises(SourceRefused, match=r"caf\\xe9 cannot be uploaded: its name is not UTF-8"):
        listing(tmp_path, MIB)


def _grown(path: Path) -> None:
    path.write_text("more than it was")


def _same_size(path: Path) -> None:
    path.write_text("other 16 bytes !")


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("change", [_grown, _same_size, _link, _pipe, Path.unlink, lambda path: os.truncate(path, 3)])
def test_a_file_that_changes_meanwhile_is_no_archive(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Half of one and half of another is nothing that anybody wrote; and a pipe put in its place is not waited for."""
    write(tmp_path, "job.py", "it is 16 bytes !")
    found = listing(tmp_path, MIB)
    change(tmp_path / "job.py")
    with pytest.raises(SourceRefused, match=r"job\.py changed while it was being read"):
        pack(found)


@pytest.mark.parametrize(
    ("path", "goal", "inside"),
    [
        ("a", "b", True), ("a", "./b//c", True), ("a/b", "../c", True), ("a/b/c", "../../d", True), ("a", ".", True),
        ("a/b", "..", True), ("a", "..", False), ("a/b", "../../c", False), ("a", "/b", False), ("a", "", False),
        ("a", "b/../c", False), ("a/b", "../c/..", False), ("a", "b/..", False),
    ],
)  # fmt: skip
def test_links_lead_up_and_then_down(path: str, goal: str, inside: bool) -> None:
    """By way of another link, `b/../c` may be anywhere: it is not taken for what it looks like."""
    assert leads_inside(path, goal) is inside
