"""An archive as a folder again: exactly what was packed, or nothing that counts. What is hostile stays inside."""

import hashlib
import os
import random
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executor.source import packing, unpacking
from executor.source.packing import listing, pack
from executor.source.unpacking import TooLarge, Unacceptable, unpack
from tests.executor.source.test_packing import MIB, shop


def pieces(tar: bytes | memoryview, size: int = 1000) -> Iterator[bytes]:
    return (bytes(tar[at : at + size]) for at in range(0, len(tar), size))


def unpacked(folder: Path, tar: bytes, digest: str | None = None, limit: int = MIB) -> Path:
    """Unpack an archive into a new folder."""
    folder.mkdir()
    unpack(pieces(tar), folder, digest or hashlib.sha256(tar).hexdigest(), limit)
    return folder


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", goal: str = "", mode: int = 0o644) -> bytes:
    """One member as `packing` writes it, whatever it says."""
    head = tarfile.TarInfo(name)
    head.type, head.size, head.linkname, head.mode = kind, len(data), goal, mode
    return head.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512)


END = bytes(1024)


def tree(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = None if path.is_dir() else (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


@pytest.mark.parametrize("size", [1, 511, 512, 1 << 20])
def test_what_was_packed_comes_back(tmp_path: Path, size: int) -> None:
    """Whatever the pieces are cut to; readable for all, and writable for whoever owns what a run sees of it."""
    source = shop(tmp_path / "source")
    packed = pack(listing(source, MIB))
    folder = tmp_path / "there"
    folder.mkdir()
    unpack(pieces(packed.tar, size), folder, packed.digest, MIB)
    assert tree(folder) == tree(source)
    modes = {stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*")) if not path.is_symlink()}
    assert modes == {0o755, 0o644}


def test_an_empty_source_is_an_empty_folder(tmp_path: Path) -> None:
    """For a command that needs no file."""
    (tmp_path / "source").mkdir()
    assert tree(unpacked(tmp_path / "there", bytes(pack(listing(tmp_path / "source", MIB)).tar))) == {}


FOLDER = member("a", tarfile.DIRTYPE)
HOSTILE = {
    "an absolute path": member("/tmp/sealrun-outside", data=b"x"),
    "dots above": member("../outside", data=b"x"),
    "dots within": FOLDER + member("a/../../outside", data=b"x"),
    "a dot": member("./x", data=b"x"),
    "an empty name": member("", data=b"x"),
    "an empty step": FOLDER + member("a//b", data=b"x"),
    "the root itself": member(".", tarfile.DIRTYPE),
    "a missing folder": member("b/x", data=b"x"),
    "a file as a folder": member("b", data=b"x") + member("b/x", data=b"x"),
    "a link as a folder": FOLDER + member("b", tarfile.SYMTYPE, goal="a") + member("b/x", data=b"x"),
    "a link out": member("b", tarfile.SYMTYPE, goal="../outside"),
    "an absolute link": member("b", tarfile.SYMTYPE, goal="/etc/passwd"),
    "a roundabout link": FOLDER + member("b", tarfile.SYMTYPE, goal="a/../../x"),
    "a link to nothing": member("b", tarfile.SYMTYPE),
    "a hard link": member("b", tarfile.LNKTYPE, goal="/etc/passwd"),
    "a device": member("b", tarfile.CHRTYPE),
    "a block device": member("b", tarfile.BLKTYPE),
    "a pipe": member("b", tarfile.FIFOTYPE),
    "a sparse file": member("b", tarfile.GNUTYPE_SPARSE),
    "a pax header": member("b", tarfile.XHDTYPE, data=b"13 path=../x\n"),
    "a folder with content": member("b", tarfile.DIRTYPE, data=b"x"),
    "no UTF-8": member("caf\udce9", data=b"x"),
    "an unused long name": member("n" * 200)[:1024] + END,
    "two long names": member("n" * 200)[:1024] * 2 + member("x"),
    "a long name for a mile": member("n" * 9000, data=b"x"),
    "something between": member("b", data=b"x")[:-1] + b"!",
    "another kind of tar": tarfile.TarInfo("b").tobuf(tarfile.USTAR_FORMAT),
    "a wrong checksum": member("b", data=b"x").replace(b"b", b"c", 1),
    "a negative size": member("b").replace(b"00000000000\0", b"-0000000001\0", 1),
    "a binary size": member("b").replace(b"00000000000\0", b"\x80" + bytes(10) + b"\1", 1),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_archives_are_refused(tmp_path: Path, what: str) -> None:
    """With the right SHA-256, too; and nothing appears outside of the folder."""
    (tmp_path / "outside").mkdir()
    with pytest.raises(Unacceptable):
        unpacked(tmp_path / "there", HOSTILE[what] + END)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "there"]
    assert list((tmp_path / "outside").iterdir()) == [] and not Path("/tmp/sealrun-outside").exists()
    assert not any(path.is_symlink() for path in (tmp_path / "there").rglob("*")) or "link as" in what


def test_the_same_path_twice_is_refused(tmp_path: Path) -> None:
    """What is there is not written over."""
    for number, second in enumerate((member("b", data=b"2"), member("b", tarfile.DIRTYPE))):
        with pytest.raises(Unacceptable, match="twice"):
            unpacked(tmp_path / str(number), member("b", data=b"1") + second + END)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tar: tar[:-1], lambda tar: tar[:-512], lambda tar: tar[:-1024], lambda tar: tar + b"\0",
        lambda tar: tar + tar, lambda tar: b"", lambda tar: tar[:700], lambda tar: tar[512:],
        lambda tar: tar.replace(b"print(1)", b"print(2)"),
    ],
)  # fmt: skip
def test_what_was_cut_or_changed_is_refused(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    """By its SHA-256, if by nothing before."""
    packed = pack(listing(shop(tmp_path / "source"), MIB))
    with pytest.raises(Unacceptable):
        unpacked(tmp_path / "there", spoil(bytes(packed.tar)), packed.digest)


def test_flipped_bits_are_refused(tmp_path: Path) -> None:
    """Wherever they are: an archive is what its name says, or it is an error of ours and no other."""
    packed = pack(listing(shop(tmp_path / "source"), MIB))
    chance = random.Random(5)
    for number in range(300):
        tar = bytearray(packed.tar)
        tar[chance.randrange(len(tar))] ^= 1 << chance.randrange(8)
        with pytest.raises(Unacceptable):
            unpacked(tmp_path / str(number), bytes(tar), packed.digest)


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the bytes of its files, by their number, and by what comes in before anything is a file."""
    tar = member("a", data=b"x" * 1024) + member("b", data=b"x" * 1024) + END
    with pytest.raises(TooLarge):
        unpacked(tmp_path / "files", tar, limit=2047)
    unpacked(tmp_path / "fits", tar, limit=2048)
    monkeypatch.setattr(unpacking, "archive_limit", lambda limit: limit)
    with pytest.raises(TooLarge):
        unpacked(tmp_path / "bytes", tar, limit=3 * 1024)
    monkeypatch.setattr(unpacking, "archive_limit", packing.archive_limit)
    monkeypatch.setattr(unpacking, "ENTRIES_LIMIT", 1)
    with pytest.raises(TooLarge):
        unpacked(tmp_path / "number", tar)


def test_the_largest_archive_that_is_made_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room for heads and long paths is enough for as many entries as may be."""
    for module in (packing, unpacking):
        monkeypatch.setattr(module, "ENTRIES_LIMIT", 12)
    source = tmp_path / "s"
    folder = source.joinpath(*(letter * 240 for letter in "abcdefg"))
    folder.mkdir(parents=True)
    for name in "uvwxy":
        (folder / (name * 240)).symlink_to(("a" * 240 + "/") * 8)
    packed = pack(listing(source, 1))
    assert packed.entries == 12
    assert packed.size <= packing.archive_limit(0)
    unpacked(tmp_path / "t", bytes(packed.tar), limit=0)
