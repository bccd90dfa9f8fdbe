"""What a run leaves behind: sent where nothing speaks against it, and named with the reason where something does."""

import base64
import contextlib
import functools
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from executor.boundary.wire import Kind, Receiver
from executor.masking.masker import Masker
from executor.supervisor import outputs as module
from executor.supervisor.allowance import LogLimits
from executor.supervisor.masked_files import Masking, of_target
from executor.supervisor.masked_text import FIRST
from executor.supervisor.outputs import FILES_LIMIT, collect
from executor.supervisor.report import NoLongerExpected, Reporter
from tests.executor.conftest import ROOT, OrdinaryUser
from tests.executor.run_process import dig

SECRET = b"hunter2-prod-key"
RAW = b"\xff\xfepass\xe9word\x80"
Collected = tuple[dict[str, bytes], dict[str, str]]


class Collecting:
    """Collects a folder; returns the files that were sent, and the reasons for those that were not."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self.secrets = {"API_KEY": SECRET, "OTHER": b"correct horse", "RAW": RAW}
        self.told: dict[str, Any] = {}
        self.sent = b""
        """Bytes of files that were sent, those that were dropped again among them."""
        self.meanwhile: Callable[[], bool] | None = None
        """What happens wherever a run is looked at."""
        self._ours, self._theirs = ours, theirs

    def seen(self) -> dict[tuple[object, ...], object]:
        """What the masker has found, by secret, place and form."""
        found = self.reporter.seen.told()
        return {(one["secret"], one["stream"], one["form"]): one["count"] for one in found}

    def __call__(
        self, folder: Path, limit: int = 1 << 20, uid: int | None = None, masked: Mapping[str, Masking] = {}
    ) -> Collected:
        reporter = self.reporter = Reporter(self._ours)
        reporter.register(Masker.build(self.secrets), LogLimits(0), 0)
        if self.meanwhile is not None:
            reporter.wait_while(self.meanwhile)
        collect(str(folder), limit, uid, reporter, masked)
        files: dict[str, bytes] = {}
        sizes: dict[str, int] = {}
        withheld: dict[str, str] = {}
        receiver, path = Receiver(self._theirs), ""
        while frames := receiver.available() or reporter.pending:
            reporter.flush()
            for frame in frames if isinstance(frames, list) else ():
                if frame.kind is Kind.OUTPUT_DATA:
                    self.sent += frame.payload
                    files[path] += frame.payload
                    continue
                path = frame.json()["path"]
                assert path not in sizes and path not in withheld, "two of one name cannot be stored"
                if frame.kind is Kind.OUTPUT_BEGINS:
                    files[path] = b""
                elif frame.kind is Kind.OUTPUT:
                    sizes[path], self.told[path] = frame.json()["size"], frame.json().get("masked")
                else:
                    files.pop(path, None)
                    withheld[path] = frame.json()["why"]
        assert sizes == {path: len(data) for path, data in files.items()}
        return files, withheld


@pytest.fixture
def collected() -> Iterator[Collecting]:
    """Collects a folder, with three secrets."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    with ours, theirs:
        yield Collecting(ours, theirs)


def test_plain_files_are_sent_whole(collected: Collecting, tmp_path: Path) -> None:
    """In folders, empty ones, and larger than one piece."""
    (tmp_path / "a/b").mkdir(parents=True)
    big = os.urandom(700_000)
    (tmp_path / "a/b/big").write_bytes(big)
    (tmp_path / "empty").touch()
    assert collected(tmp_path) == ({"a/b/big": big, "empty": b""}, {})


def test_a_secret_in_a_text_is_masked(collected: Collecting, tmp_path: Path) -> None:
    """I5: anywhere in it, over the edge of two pieces, encoded; all else stays as it was, to the last byte."""
    before = b"x" * ((1 << 18) - 5)
    (tmp_path / "edge").write_bytes(before + SECRET + "é\n".encode())
    (tmp_path / "encoded").write_bytes(b"user," + base64.b64encode(b"ab:" + SECRET) + b"\r\n")
    (tmp_path / "fine").write_bytes(SECRET[:-1])
    files, withheld = collected(tmp_path)
    assert withheld == {}
    encoded = files.pop("encoded")
    assert encoded.startswith(b"user,") and b"***" in encoded and encoded.endswith(b"\r\n")
    assert files == {"edge": before + "***é\n".encode(), "fine": SECRET[:-1]}


def test_a_secret_in_a_name_is_masked(collected: Collecting, tmp_path: Path) -> None:
    """I5: the file is given under the name without it; whatever its content is."""
    (tmp_path / f"dump-{SECRET.decode()}.gz").write_bytes(b"\x1f\x8b\0")
    (tmp_path / f"{SECRET.hex()}").mkdir()
    (tmp_path / f"{SECRET.hex()}/log").write_bytes(SECRET)
    assert collected(tmp_path) == ({"dump-***.gz": b"\x1f\x8b\0", "***/log": b"***"}, {})
    in_name = {"secret": "API_KEY", "form": "as it is", "count": 1, "part": "name", "offset": None}
    assert collected.told["dump-***.gz"] == {"first": [in_name], "more": 0}
    assert [(one["part"], one["form"]) for one in collected.told["***/log"]["first"]] == [
        ("name", "hex"),
        ("content", "as it is"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        SECRET + b"\0",
        b"\0" * (1 << 19) + SECRET,
        SECRET + b"\xff",
        SECRET + b"\n" * (1 << 19) + "é".encode()[:1],
        SECRET.decode().encode("utf-8") + "café".encode("latin-1"),
        b"PK\x03\x04" + bytes(range(256)) + SECRET,
    ],
    ids=["NUL", "NUL far before", "no UTF-8", "half a character at the end", "Latin-1", "zip"],
)
def test_what_is_no_text_stays_withheld(collected: Collecting, tmp_path: Path, content: bytes) -> None:
    """I5: only UTF-8 without NUL is masked: a hole in anything else helps nobody, and hides what else is in it."""
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "z").write_bytes(b"fine")
    assert collected(tmp_path) == ({"z": b"fine"}, {"file": "it contains a secret"})
    assert collected.seen() == {("API_KEY", "output file", "as it is"): 1}


def test_what_masking_makes_a_secret_is_withheld(collected: Collecting, tmp_path: Path) -> None:
    """I5: the result is searched again, in every form; here one secret has what another leaves in the middle."""
    collected.secrets["STARS"] = b"left***right"
    (tmp_path / "across").write_bytes(b"a left" + SECRET + b"right")
    (tmp_path / "late").write_bytes(SECRET + b"\n" * (1 << 19) + b"left" + SECRET + b"right")
    (tmp_path / f"left{SECRET.decode()}right").write_bytes(b"1")
    files, withheld = collected(tmp_path)
    assert files == {}
    assert set(withheld.values()) == {"it contains a secret"} and set(withheld) == {"across", "late", "***"}


def test_what_was_masked_in_a_file_is_told(collected: Collecting, tmp_path: Path) -> None:
    """Whose it was, in which form, how often, and where in the masked file; nothing of how long it is."""
    data = b"1: " + SECRET + b"\n2: " + SECRET + b"\n3: " + SECRET.hex().encode() + b"\n4: correct horse\n"
    (tmp_path / "log").write_bytes(data)
    files, _ = collected(tmp_path)
    assert files["log"] == b"1: ***\n2: ***\n3: ***\n4: ***\n"
    told = collected.told["log"]
    assert told == {
        "first": [
            {"secret": "API_KEY", "form": "as it is", "count": 2, "part": "content", "offset": 3},
            {"secret": "API_KEY", "form": "hex", "count": 1, "part": "content", "offset": 17},
            {"secret": "OTHER", "form": "as it is", "count": 1, "part": "content", "offset": 24},
        ],
        "more": 0,
    }
    assert "".join(map(str, collected.seen().values())) == "211"


def test_only_the_first_hits_of_a_file_are_told(collected: Collecting, tmp_path: Path) -> None:
    """A file may hold every secret of a large project; the rest is a number."""
    collected.secrets = {f"KEY_{number:03}": f"value-of-key-{number:03}".encode() for number in range(200)}
    (tmp_path / "env").write_bytes(b"\n".join(collected.secrets.values()) + b"\nvalue-of-key-199")
    collected(tmp_path)
    told = collected.told["env"]
    assert [one["secret"] for one in told["first"]] == [f"KEY_{number:03}" for number in range(FIRST)]
    assert told["more"] == 201 - FIRST


def test_a_page_is_masked_as_a_reader_sees_it(collected: Collecting, tmp_path: Path) -> None:
    """I5: where a secret was found in a page, it must not be left across tags either."""
    (tmp_path / "plain.html").write_bytes(b"<p>" + SECRET + b"</p>")
    (tmp_path / "across.HTM").write_bytes(b"<p>" + SECRET + b"</p><b>" + SECRET[:5] + b"</b><i>" + SECRET[5:] + b"</i>")
    files, withheld = collected(tmp_path)
    assert (files, withheld) == ({"plain.html": b"<p>***</p>"}, {"across.HTM": "it contains a secret"})
    assert collected.told["plain.html"]["first"][0]["offset"] == 3


def test_what_is_not_masked_byte_for_byte_and_too_large_is_withheld(
    collected: Collecting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5: a page or a notebook that is too large to be looked at as a whole; other files have no such limit."""
    monkeypatch.setattr(module, "MASKED_LIMIT", 100)
    for name in ("report.ipynb", "page.html", "log.txt"):
        (tmp_path / name).write_bytes(SECRET + b"\n" * 100)
    masked = dict(of_target({"kind": "notebook", "path": "report.ipynb"}))
    files, withheld = collected(tmp_path, masked=masked)
    assert (list(files), withheld) == (
        ["log.txt"],
        dict.fromkeys(("report.ipynb", "page.html"), "it contains a secret"),
    )


def test_a_large_text_is_masked_in_little_memory(tmp_path: Path) -> None:
    """Larger than what a supervisor has in memory: it is read twice, and never as a whole."""
    line = b"2026-03-01 10:00:00 INFO loaded 12 rows of the table orders in 0.31 seconds\n"
    with open(tmp_path / "log", "wb") as out:
        for _ in range(48):
            out.write(line * 14_000 + b"password=" + SECRET + b"\n")
    size = os.path.getsize(tmp_path / "log")
    code = """
import resource, sys
sys.path[:0] = [sys.argv[2]]
from executor.masking.masker import Masker
from executor.supervisor.outputs import collect
from executor.supervisor.seen import Seen
class Reporter:
    masker = Masker.build({"API_KEY": b"hunter2-prod-key"})
    seen, sent, peak = Seen(masker), 0, 0
    given = given_bytes = 0
    def withheld(self, path, why): print(path, why)
    def file_begins(self, path): pass
    def file(self, path, size, masked=(), more=0): print(path, size, masked[0]["count"])
    def file_data(self, data): self.sent += len(data)
    def check(self): pass
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reporter = Reporter()
collect(sys.argv[1], 1 << 30, None, reporter)
print(reporter.sent, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(ROOT)], capture_output=True, text=True, check=True
    )
    path, told, count, sent, megabytes = ended.stdout.split()
    assert (path, int(told), int(count), int(sent)) == ("log", size - 48 * 13, 48, size - 48 * 13)
    assert size > 32 << 20 and int(megabytes) < 16


def test_what_cannot_be_searched_as_it_is_read_is_withheld(collected: Collecting, tmp_path: Path) -> None:
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


class Writer:
    """A process outside the run's tree, which has its file open and writes to it at one of the looks at the run."""

    def __init__(self, file: Path, how: str) -> None:
        self._how = how
        self._open = open(file, "r+b")  # noqa: SIM115  # `end` closes it
        self._mapped = mmap.mmap(self._open.fileno(), 0)
        self._mapped[1 << 18] = ord("x")  # from now on the kernel tells nobody that this page is written to
        self.left = 0

    def __call__(self) -> bool:
        self.left -= 1
        if self.left == 0:
            match self._how:
                case "write":
                    os.pwrite(self._open.fileno(), b" " + SECRET + b" ", 1 << 18)
                case "map":
                    self._mapped[1 << 18 : (1 << 18) + len(SECRET)] = SECRET
                case "cut":
                    os.ftruncate(self._open.fileno(), 10)
                case "append":
                    os.pwrite(self._open.fileno(), SECRET, os.fstat(self._open.fileno()).st_size)
        return True

    def end(self) -> None:
        self._mapped.close()
        self._open.close()


@pytest.mark.parametrize("how", ["write", "map", "cut", "append"])
@pytest.mark.parametrize("before", [b"", b"\0", SECRET], ids=["text", "no text", "masked"])
def test_a_file_that_is_written_to_meanwhile(collected: Collecting, tmp_path: Path, how: str, before: bytes) -> None:
    """I5: at whatever moment, no secret is sent, and what is given has the size that is told; else it is withheld."""
    whys = []
    for at in range(1, 16):
        (tmp_path / "file").write_bytes(before + b"x" * (3 << 18))
        (tmp_path / "z").write_bytes(b"fine")
        collected.meanwhile = writer = Writer(tmp_path / "file", how)
        writer.left, collected.sent = at, b""
        files, withheld = collected(tmp_path)
        writer.end()
        assert SECRET not in collected.sent
        assert files.pop("z") == b"fine"
        assert len(files) + len(withheld) == 1
        whys += withheld.values()
    assert whys.count("it changed while it was read") >= 3
    assert set(whys) <= {"it changed while it was read", "it contains a secret"}


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
            monkeypatch.setattr(reporter, "file", lambda path, *_, sent=sent: sent.append(path))
            monkeypatch.setattr(reporter, "file_data", lambda data, sent=sent: sent.append(data))
            with pytest.raises(NoLongerExpected):
                collect(str(tmp_path), 1 << 30, None, reporter)
            assert next(asked, None) is None
            assert len(sent) < lost_at


def test_names_that_become_equal_stay_apart(collected: Collecting, tmp_path: Path) -> None:
    """Two names that differ in a secret, or in bytes that are no text, are two files and cannot be stored as one."""
    (tmp_path / f"key-{SECRET.decode()}").touch()
    (tmp_path / "key-correct horse").touch()
    (tmp_path / "key-***").write_bytes(b"1")
    for number in (0xFE, 0xFF):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd-%c" % number)).write_bytes(b"2")
    files, withheld = collected(tmp_path)
    assert len(files) == 5 and withheld == {}
    assert sorted(files.values()) == [b"", b"", b"1", b"2", b"2"]


def test_a_name_that_masking_makes_a_folders_is_not_given(collected: Collecting, tmp_path: Path) -> None:
    """What is given can be written: a file and a folder of one name cannot."""
    (tmp_path / f"a-{SECRET.decode()}").touch()
    (tmp_path / "a-correct horse").mkdir()
    (tmp_path / "a-correct horse/b").touch()
    (tmp_path / f"b-{SECRET.decode()}").mkdir()
    (tmp_path / f"b-{SECRET.decode()}/c").touch()
    (tmp_path / "b-***").touch()
    files, withheld = collected(tmp_path)
    assert set(withheld.values()) == {"its name, once it is masked, is another's"}
    assert sorted([*files, *withheld]) == ["a-***", "a-***/b", "b-***", "b-***/c"] and len(files) == 2


def test_a_secret_that_is_no_text_is_found_in_names_too(collected: Collecting, tmp_path: Path) -> None:
    """I5: a value that is not UTF-8, in a file's name and in the name of a folder."""
    for name in (b"dump-" + RAW, RAW + b"/file", RAW + b"x"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"1")
    files, withheld = collected(tmp_path)
    assert (files, withheld) == (dict.fromkeys(("dump-***", "***/file", "***x"), b"1"), {})


def test_links_and_devices_are_not_followed(collected: Collecting, tmp_path: Path) -> None:
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
def test_a_folder_that_became_a_link_is_not_entered(collected: Collecting, tmp_path: Path, what: str) -> None:
    """I3: the supervisor may read what the run may not: wherever the link leads, not even a name is sent."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/local.key").write_bytes(b"not the run's")
    (tmp_path / "output").symlink_to(what if what.startswith("/") else tmp_path / what)
    files, withheld = collected(tmp_path / "output")
    assert files == {} and list(withheld) == ["…"]
    assert withheld["…"].startswith("the output folder cannot be read: ")


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
@pytest.mark.parametrize("what", ["keys", "keys/local.key", "/proc/self", "/proc/self/environ", "/dev/zero"])
def test_a_link_at_any_depth_is_not_followed(collected: Collecting, tmp_path: Path, what: str, depth: int) -> None:
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
    collected: Collecting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_a_file_that_becomes_a_pipe_is_not_given(
    collected: Collecting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I3: what was opened is looked at again: it is not what had the name before."""
    (tmp_path / "file").write_bytes(b"own")
    found = os.stat(tmp_path / "file")

    def swapped(*_: object) -> os.stat_result:
        (tmp_path / "file").unlink()
        os.mkfifo(tmp_path / "file")
        return found

    monkeypatch.setattr(module, "_found", swapped)
    assert collected(tmp_path) == ({}, {"file": "it is not a regular file"})


def test_the_limit_is_of_all_files_together(collected: Collecting, tmp_path: Path) -> None:
    """In a stable order; what does not fit is named, what still fits after it is sent."""
    for name, size in (("a", 60), ("b", 50), ("c", 40), ("d", 1)):
        (tmp_path / name).write_bytes(b"x" * size)
    files, withheld = collected(tmp_path, limit=100)
    assert {name: len(data) for name, data in files.items()} == {"a": 60, "c": 40}
    assert set(withheld) == {"b", "d"} and "larger than 100 bytes" in withheld["b"]


def test_too_many_files_are_cut_and_said(collected: Collecting, tmp_path: Path) -> None:
    """A thousand are kept."""
    for number in range(FILES_LIMIT + 5):
        (tmp_path / f"f{number:05}").touch()
    files, withheld = collected(tmp_path)
    assert len(files) == FILES_LIMIT
    assert list(withheld.values()) == [f"more than {FILES_LIMIT:,} files were left"]


@pytest.mark.parametrize("kind", ["one folder", "folders", "nested"])
def test_more_than_can_be_looked_at_is_cut_and_said(
    collected: Collecting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """In one folder or in many, all of them empty: no more of it is held in memory, and the rest is one line."""
    monkeypatch.setattr(module, "ENTRIES", 100)
    (tmp_path / "0").write_bytes(b"fine")
    place = tmp_path
    for number in range(150):
        if (kind == "nested" and number % 10 == 0) or (kind == "one folder" and number == 0):
            place = place / "d"
            place.mkdir()
        (place / f"e{number:04}").mkdir()
    most = 100 + len([*tmp_path.glob("**/d")]) + 1  # each folder is asked for one more than there is room for
    held, real = 0, os.scandir

    @contextlib.contextmanager
    def counted(place: int) -> Iterator[Any]:
        def counting() -> Iterator[Any]:
            nonlocal held
            for entry in listing:
                held += 1
                yield entry

        with real(place) as listing:
            yield counting()

    monkeypatch.setattr(module.os, "scandir", counted)
    files, withheld = collected(tmp_path)
    assert held <= most and set(files) <= {"0"}
    assert withheld == {"…": "more than 100 files and folders were left"}


def test_looking_takes_its_time_and_no_more(
    collected: Collecting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told in one line; what was found before is given."""
    monkeypatch.setattr(module, "SECONDS", -1.0)
    (tmp_path / "file").touch()
    assert collected(tmp_path) == ({}, {"…": "it took more than -1 seconds to look at"})


def test_a_file_of_another_user_is_not_the_runs_to_leave(collected: Collecting, tmp_path: Path, root: None) -> None:
    """A hard link to somebody else's file, where the kernel lets a run make one."""
    (tmp_path / "own").write_bytes(b"1")
    (tmp_path / "foreign").write_bytes(b"2")
    os.chown(tmp_path / "own", 60610, 60610)
    files, withheld = collected(tmp_path, uid=60610)
    assert (files, withheld) == ({"own": b"1"}, {"foreign": "it belongs to another user"})


def test_trees_deeper_than_any_path_do_not_stop_it(collected: Collecting, deep_folder: Path) -> None:
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
from executor.supervisor.seen import Seen
from executor.masking.masker import Masker
folder = sys.argv[1] + "/output"
os.makedirs(folder + "/closed/inner")
open(folder + "/closed/file", "w").close()
open(folder + "/secretive", "w").close()
os.chmod(folder + "/secretive", 0)
os.chmod(folder + "/closed", 0)
class Reporter:
    masker = Masker.build({})
    seen = Seen(masker)
    given = given_bytes = 0
    def withheld(self, path, why): print(path, "-", why)
    def file(self, path, size, *masked): print(path)
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
