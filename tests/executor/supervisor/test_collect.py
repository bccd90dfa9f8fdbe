"""What a run leaves behind: sent where nothing speaks against it, and named with the reason where something does."""

import functools
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from executor.boundary.wire import Kind, Receiver
from executor.masking.masker import Masker
from executor.supervisor import outputs as module
from executor.supervisor.allowance import LogLimits
from executor.supervisor.masked_files import Masking, of_target
from executor.supervisor.outputs import FILES_LIMIT, collect
from executor.supervisor.report import NoLongerExpected, Reporter
from tests.executor.conftest import ROOT, OrdinaryUser
from tests.executor.run_process import dig

SECRET = b"hunter2-prod-key"
RAW = b"\xff\xfepass\xe9word\x80"
Collected = tuple[dict[str, bytes], dict[str, str]]


@pytest.fixture
def collected() -> Iterator[Callable[..., Collected]]:
    """Collects a folder; returns the files that were sent, and the reasons for those that were not."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)

    def run(
        folder: Path, limit: int = 1 << 20, uid: int | None = None, masked: Mapping[str, Masking] = {}
    ) -> Collected:
        reporter = Reporter(ours)
        reporter.register(Masker.build({"API_KEY": SECRET, "OTHER": b"correct horse", "RAW": RAW}), LogLimits(0), 0)
        collect(str(folder), limit, uid, reporter, masked)
        files: dict[str, bytes] = {}
        withheld: dict[str, str] = {}
        receiver, path = Receiver(theirs), ""
        while frames := receiver.available() or reporter.pending:
            reporter.flush()
            for frame in frames if isinstance(frames, list) else ():
                if frame.kind is Kind.OUTPUT:
                    path = frame.json()["path"]
                    assert path not in files and path not in withheld, "two of one name cannot be stored"
                    files[path] = b""
                elif frame.kind is Kind.OUTPUT_DATA:
                    files[path] += frame.payload
                else:
                    path = frame.json()["path"]
                    assert path not in files and path not in withheld, "two of one name cannot be stored"
                    withheld[path] = frame.json()["why"]
        return files, withheld

    with ours, theirs:
        yield run


def test_plain_files_are_sent_whole(collected: Callable[..., Collected], tmp_path: Path) -> None:
    """In folders, empty ones, and larger than one piece."""
    (tmp_path / "a/b").mkdir(parents=True)
    big = os.urandom(700_000)
    (tmp_path / "a/b/big").write_bytes(big)
    (tmp_path / "empty").touch()
    assert collected(tmp_path) == ({"a/b/big": big, "empty": b""}, {})


def test_a_secret_in_a_file_or_its_name_withholds_it(collected: Callable[..., Collected], tmp_path: Path) -> None:
    """I5: anywhere in it, over the edge of two pieces, encoded, or in the name, which is masked."""
    import base64

    (tmp_path / "edge").write_bytes(b"x" * ((1 << 18) - 5) + SECRET)
    (tmp_path / "encoded").write_bytes(base64.b64encode(b"ab" + SECRET + b"c"))
    (tmp_path / f"dump-{SECRET.decode()}").touch()
    (tmp_path / "fine").write_bytes(SECRET[:-1])
    files, withheld = collected(tmp_path)
    assert files == {"fine": SECRET[:-1]}
    assert withheld == dict.fromkeys(("edge", "encoded", "dump-***"), "it contains a secret")


def test_what_cannot_be_searched_as_it_is_read_is_withheld(collected: Callable[..., Collected], tmp_path: Path) -> None:
    """I5: whatever a run writes into its page, it does not end the supervisor, and the other files are sent."""
    masked = dict(of_target({"kind": "notebook", "path": "report.ipynb"}))
    (tmp_path / "report.html").write_text(f"<p>&#{'9' * 5_000};</p>")
    (tmp_path / "z").write_bytes(b"fine")
    withheld = {"report.html": "it cannot be searched for secrets"}
    assert collected(tmp_path, masked=masked) == ({"z": b"fine"}, withheld)
    for error in (RecursionError, OverflowError, MemoryError):

        def refuse(*_: object, error: type[Exception] = error) -> bytes:
            raise error

        assert collected(tmp_path, masked={"report.html": refuse}) == ({"z": b"fine"}, withheld)


def test_a_run_that_is_lost_is_not_collected_any_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between files and within one; what is not searched to its end is not sent, even if the worker is back by then."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"x" * (1 << 20))
    for lost_at in range(1, 12):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            reporter = Reporter(ours)
            reporter.register(Masker.build({"API_KEY": SECRET}), LogLimits(0), 0)
            asked = iter([True] * lost_at + [False])
            reporter.wait_while(functools.partial(next, asked, True))
            sent: list[bytes | str] = []
            monkeypatch.setattr(reporter, "file", lambda path, size, sent=sent: sent.append(path))
            monkeypatch.setattr(reporter, "file_data", lambda data, sent=sent: sent.append(data))
            with pytest.raises(NoLongerExpected):
                collect(str(tmp_path), 1 << 30, None, reporter)
            assert next(asked, None) is None
            assert len(sent) < lost_at


def test_names_that_become_equal_stay_apart(collected: Callable[..., Collected], tmp_path: Path) -> None:
    """Two names that differ in a secret, or in bytes that are no text, are two files and cannot be stored as one."""
    (tmp_path / f"key-{SECRET.decode()}").touch()
    (tmp_path / "key-correct horse").touch()
    (tmp_path / "key-***").write_bytes(b"1")
    for number in (0xFE, 0xFF):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd-%c" % number)).write_bytes(b"2")
    files, withheld = collected(tmp_path)
    assert len(files) == 3 and len(withheld) == 2
    assert sorted(files.values()) == [b"1", b"2", b"2"]


def test_a_secret_that_is_no_text_is_found_in_names_too(collected: Callable[..., Collected], tmp_path: Path) -> None:
    """I5: a value that is not UTF-8, in a file's name and in the name of a folder."""
    for name in (b"dump-" + RAW, RAW + b"/file", RAW + b"x"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"1")
    files, withheld = collected(tmp_path)
    assert files == {}
    assert withheld == dict.fromkeys(("dump-***", "***/file", "***x"), "it contains a secret")


def test_links_and_devices_are_not_followed(collected: Callable[..., Collected], tmp_path: Path) -> None:
    """A link to a file or folder elsewhere, a pipe, a socket: named, and never opened for reading."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"not the run's")
    folder = tmp_path / "output"
    folder.mkdir()
    (folder / "link").symlink_to(outside / "file")
    (folder / "folder").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        files, withheld = collected(folder)
    assert files == {}
    assert set(withheld) == {"link", "folder", "loop", "fifo", "socket"}
    assert withheld["fifo"] == "it is not a regular file"


@pytest.mark.parametrize("what", ["keys", "keys/", "keys/local.key", "/proc/self", "/proc/self/fd", "gone", "output"])
def test_a_folder_that_became_a_link_is_not_entered(
    collected: Callable[..., Collected], tmp_path: Path, what: str
) -> None:
    """I3: the supervisor may read what the run may not: wherever the link leads, not even a name is sent."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/local.key").write_bytes(b"not the run's")
    (tmp_path / "output").symlink_to(what if what.startswith("/") else tmp_path / what)
    files, withheld = collected(tmp_path / "output")
    assert files == {} and list(withheld) == ["…"]
    assert withheld["…"].startswith("the output folder cannot be read: ")


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
@pytest.mark.parametrize("what", ["keys", "keys/local.key", "/proc/self", "/proc/self/environ", "/dev/zero"])
def test_a_link_at_any_depth_is_not_followed(
    collected: Callable[..., Collected], tmp_path: Path, what: str, depth: int
) -> None:
    """I3: beside the run's own files, which are still sent."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/local.key").write_bytes(b"not the run's")
    folder = tmp_path.joinpath("output", *"abcde"[:depth])
    folder.mkdir(parents=True)
    (folder / "own").write_bytes(b"own")
    (folder / "link").symlink_to(what if what.startswith("/") else tmp_path / what)
    above = "".join(f"{name}/" for name in "abcde"[:depth])
    assert collected(tmp_path / "output") == (
        {f"{above}own": b"own"},
        {f"{above}link": "it is not a regular file"},
    )


def test_a_file_that_becomes_a_link_is_not_followed(
    collected: Callable[..., Collected], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I3: also where something outlived the run and swaps it between the look and the opening."""
    (tmp_path / "key").write_bytes(b"not the run's")
    folder = tmp_path / "output"
    folder.mkdir()
    (folder / "file").write_bytes(b"own")

    def swapped(*given: object) -> None:
        (folder / "file").unlink()
        (folder / "file").symlink_to(tmp_path / "key")

    monkeypatch.setattr(module, "_why_withheld", swapped)
    files, withheld = collected(folder)
    assert files == {} and withheld["file"].startswith("it cannot be read: ")


def test_the_limit_is_of_all_files_together(collected: Callable[..., Collected], tmp_path: Path) -> None:
    """In a stable order; what does not fit is named, what still fits after it is sent."""
    for name, size in (("a", 60), ("b", 50), ("c", 40), ("d", 1)):
        (tmp_path / name).write_bytes(b"x" * size)
    files, withheld = collected(tmp_path, limit=100)
    assert {name: len(data) for name, data in files.items()} == {"a": 60, "c": 40}
    assert set(withheld) == {"b", "d"} and "larger than 100 bytes" in withheld["b"]


def test_too_many_files_are_cut_and_said(collected: Callable[..., Collected], tmp_path: Path) -> None:
    """A thousand are kept."""
    for number in range(FILES_LIMIT + 5):
        (tmp_path / f"f{number:05}").touch()
    files, withheld = collected(tmp_path)
    assert len(files) == FILES_LIMIT
    assert list(withheld.values()) == [f"more than {FILES_LIMIT:,} files were left"]


def test_a_file_of_another_user_is_not_the_runs_to_leave(
    collected: Callable[..., Collected], tmp_path: Path, root: None
) -> None:
    """A hard link to somebody else's file, where the kernel lets a run make one."""
    (tmp_path / "own").write_bytes(b"1")
    (tmp_path / "foreign").write_bytes(b"2")
    os.chown(tmp_path / "own", 60610, 60610)
    files, withheld = collected(tmp_path, uid=60610)
    assert (files, withheld) == ({"own": b"1"}, {"foreign": "it belongs to another user"})


def test_trees_deeper_than_any_path_do_not_stop_it(collected: Callable[..., Collected], deep_folder: Path) -> None:
    """What lies too deep is named once; the rest is sent, and the supervisor lives."""
    dig(deep_folder, 3000)
    (deep_folder / "report").write_bytes(b"fine")
    files, withheld = collected(deep_folder)
    assert files["report"] == b"fine"
    ((path, why),) = withheld.items()
    assert path.startswith("d/d/") and len(path) < 300 and why == "it is more than 100 folders deep"


def test_what_cannot_be_read_is_named(as_ordinary_user: OrdinaryUser, open_folder: Path) -> None:
    """A file or a folder without permissions, left to a supervisor that is an ordinary user."""
    code = """
import os, sys, json
sys.path[:0] = [sys.argv[2]]
from executor.supervisor.masked_files import Masking, of_target
from executor.supervisor.outputs import collect
from executor.masking.masker import Masker
folder = sys.argv[1] + "/output"
os.makedirs(folder + "/closed/inner")
open(folder + "/closed/file", "w").close()
open(folder + "/secretive", "w").close()
os.chmod(folder + "/secretive", 0)
os.chmod(folder + "/closed", 0)
class Reporter:
    masker = Masker.build({})
    def withheld(self, path, why): print(path, "-", why)
    def file(self, path, size): print(path)
    def file_data(self, data): print(data)
    def check(self): pass
collect(folder, 100, None, Reporter())
"""
    ended = as_ordinary_user(code, open_folder, ROOT)
    assert ended.stderr == ""
    assert sorted(ended.stdout.splitlines()) == [
        "closed - it cannot be read: Permission denied",
        "secretive - it cannot be read: Permission denied",
    ]
