"""What a run wrote beside its source: given where it is a plain file, told where it is not, whatever a run makes."""

import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.boundary.wire import Kind, Receiver
from executor.masking.masker import Masker
from executor.sandbox import kernel
from executor.sandbox.removal import remove
from executor.sandbox.working.copy import Mark, make
from executor.supervisor import outputs
from executor.supervisor import written as module
from executor.supervisor.allowance import LogLimits
from executor.supervisor.chosen import Chosen
from executor.supervisor.outputs import collect as collect_outputs
from executor.supervisor.report import Reporter
from tests.executor.run_process import dig

SECRET = b"hunter2-prod-key"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="making it takes root")


class Place:
    """A source, and what a run wrote beside it: in a layer, or in a copy."""

    def __init__(self, folder: Path, how: str) -> None:
        self.how, self.output, self.source = how, folder / "output", folder / "source"
        self.folder = folder / ("upper" if how == "overlay" else "copy")
        self.output.mkdir()
        (self.source / "data").mkdir(parents=True)
        for name in ("old.txt", "data/old.txt", "kept.txt"):
            (self.source / name).write_text("old")
            os.utime(self.source / name, (1_000_000, 1_000_000))
        self.marks: dict[bytes, Mark] = {}
        if how == "overlay":
            (self.folder / "data").mkdir(parents=True)
        else:
            self.marks = make(str(self.source), str(self.folder)).marks
        self.collect: list[str] = []
        self.uid: int | None = None
        self.programs: list[str] = []

    def __call__(self, limit: int = 1 << 20) -> tuple[dict[str, bytes], dict[str, str], str]:
        """The files that are given, those withheld with the reasons, and what is told at the end."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            reporter = Reporter(ours)
            reporter.register(Masker.build({"API_KEY": SECRET}), LogLimits(1 << 20), 0)
            job = {
                "run": "r1",
                "view": {"uid": self.uid},
                "collect": self.collect,
                "working": {
                    "how": self.how,
                    "source": str(self.source),
                    "folder": str(self.folder),
                    "upper": str(self.folder),
                },
            }
            given = collect_outputs(str(self.output), limit, None, reporter)
            module.collect(job, self.marks, given, reporter)
            return self._heard(reporter, theirs)

    def _heard(self, reporter: Reporter, theirs: socket.socket) -> tuple[dict[str, bytes], dict[str, str], str]:
        files: dict[str, bytes] = {}
        withheld: dict[str, str] = {}
        said, path, receiver = b"", "", Receiver(theirs)
        while frames := receiver.available() or reporter.pending:
            reporter.flush()
            for frame in frames if isinstance(frames, list) else ():
                if frame.kind is Kind.STDERR:
                    said += frame.payload
                elif frame.kind is Kind.OUTPUT_DATA:
                    files[path] += frame.payload
                elif frame.kind is Kind.OUTPUT:
                    self.programs += [path] * frame.json().get("executable", False)
                elif frame.kind is Kind.OUTPUT_BEGINS:
                    path = frame.json()["path"]
                    files[path] = b""
                elif frame.kind is Kind.OUTPUT_WITHHELD:
                    withheld[frame.json()["path"]] = frame.json()["why"]
                    files.pop(frame.json()["path"], None)
        return files, withheld, said.decode()


@pytest.fixture
def folder() -> Iterator[Path]:
    """On a disk: a file system in memory knows no attributes of users' own."""
    made = Path(tempfile.mkdtemp(prefix="sealrun-test-", dir="/var/tmp"))
    yield made
    remove(made)


@pytest.fixture(params=["overlay", "copy"])
def place(request: pytest.FixtureRequest, folder: Path) -> Place:
    return Place(folder, request.param)


@pytest.fixture
def layer(folder: Path) -> Place:
    return Place(folder, "overlay")


def test_what_was_written_is_given_with_what_was_left(place: Place) -> None:
    """New and changed files, in folders, too; not what lies there as it lay in the source."""
    (place.output / "report.csv").write_text("of the output folder")
    (place.folder / "report.csv").write_text("beside")
    (place.folder / "data/new.txt").write_text("new")
    (place.folder / "old.txt").write_text("changed")
    shutil.copy2(place.source / "kept.txt", place.folder / "kept.txt") if place.how == "overlay" else None
    files, withheld, said = place()
    assert files == {
        "report.csv": b"of the output folder",
        "report.csv (2)": b"beside",
        "data/new.txt": b"new",
        "old.txt": b"changed",
    }
    assert withheld == {}
    assert said == (
        "sealrun: wrote 3 files beside the source (16 bytes): data/new.txt, old.txt, report.csv (2);"
        " they are kept for --output and `sealrun runs download r1`\n"
        "sealrun: two of the same name: report.csv is the one of SEALRUN_OUTPUT_DIR, and report.csv (2) the one beside"
        " the source\n"
    )


def test_nothing_is_said_where_nothing_was_written(place: Place) -> None:
    """Bytecode and hidden files are nothing that anybody waits for."""
    for name in ("__pycache__/a.pyc", ".cache/x", "node_modules/m/index.js", "a.pyc", ".env"):
        (place.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (place.folder / name).write_text("x")
    assert place() == ({}, {}, "")


def test_what_is_no_plain_file_is_told_and_left_out(place: Place) -> None:
    """Nothing is followed, waited for or opened that a run may have put there."""
    os.mkfifo(place.folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place.folder / "socket"))
    (place.folder / "link").symlink_to("/etc/shadow")
    (place.folder / "folder").symlink_to("/etc")
    (place.folder / "one").write_text("twice")
    os.link(place.folder / "one", place.folder / "two")
    expected = {
        "fifo": "it is a named pipe",
        "socket": "it is a socket",
        "link": "it is a link",
        "folder": "it is a link",
        "one": "it has more names than one",
        "two": "it has more names than one",
    }
    if os.geteuid() == 0:
        os.mknod(place.folder / "device", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        os.mknod(place.folder / "disk", 0o666 | stat.S_IFBLK, os.makedev(7, 0))
        (place.folder / "theirs").write_text("theirs")
        os.chown(place.folder / "theirs", 60_777, 60_777)
        expected |= dict.fromkeys(("device", "disk"), "it is a device") | {"theirs": "it belongs to another user"}
    assert place() == ({}, expected, "")


def test_bits_and_attributes_are_dropped_and_told(place: Place) -> None:
    """The bytes are given, and nothing that lends rights."""
    (place.folder / "suid").write_text("x")
    (place.folder / "suid").chmod(0o4755)
    (place.folder / "noted").write_text("x")
    os.setxattr(place.folder / "noted", "user.note", b"x")
    files, _, said = place()
    assert set(files) == {"suid", "noted"}
    assert "set-user-id bits and extended attributes are not kept: noted, suid\n" in said


@root_only
def test_what_was_removed_is_told_and_never_done(layer: Place) -> None:
    """The kernel's marks in a layer: a removed file, and a folder that was replaced."""
    os.mknod(layer.folder / "old.txt", stat.S_IFCHR, os.makedev(0, 0))
    os.setxattr(layer.folder / "data", "user.overlay.opaque", b"y")
    files, withheld, said = layer()
    assert (files, withheld) == ({}, {})
    assert said == "sealrun: the run removed data/, old.txt from its working folder; the source still has them\n"
    assert (layer.source / "old.txt").exists() and (layer.source / "data/old.txt").exists()


def test_what_was_removed_from_a_copy_is_told(folder: Path) -> None:
    """By what was copied, and not by what the source has meanwhile."""
    place = Place(folder, "copy")
    (place.folder / "old.txt").unlink()
    (place.source / "later.txt").touch()
    (place.source / "kept.txt").write_text("changed by its owner")
    assert place() == ({}, {}, "sealrun: the run removed old.txt from its working folder; the source still has it\n")


def test_what_links_of_the_source_lead_to_is_not_asked(layer: Place, folder: Path) -> None:
    """A folder in the place of a link, with what may be like a file elsewhere: it tells nothing of that one."""
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/file").write_text("theirs")
    (layer.source / "link").symlink_to(folder / "elsewhere")
    (layer.source / "name").symlink_to("old.txt")
    (layer.folder / "link").mkdir()
    (layer.folder / "link/file").write_text("my own")
    (layer.folder / "name").symlink_to("new.txt")
    for one in (folder / "elsewhere/file", layer.folder / "link/file"):
        os.utime(one, (1_000_000, 1_000_000))
    files, withheld, _ = layer()
    assert (files, withheld) == ({"link/file": b"my own"}, {"name": "it is a link"})


def test_secrets_are_masked_in_names_and_files(place: Place) -> None:
    """I5: and where a text cannot be masked it is withheld; what is told at the end has no name as it was."""
    name = SECRET.decode()
    (place.folder / "a.txt").write_bytes(b"key=" + SECRET)
    (place.folder / "b.bin").write_bytes(b"\0\xff" + SECRET)
    (place.folder / f"{name}.txt").write_text("x")
    (place.folder / f"new\n{name}\x1b[2J").write_text("x")
    (place.folder / name).mkdir()
    (place.folder / name / "inner").write_text("x")
    files, withheld, said = place()
    assert files.pop("a.txt") == b"key=***"
    assert withheld == {"b.bin": "it contains a secret"}
    assert not any(name in text for text in (*files, said)), (files, said)
    assert "\x1b" not in said and said.count("\n") == 1


def test_a_huge_file_of_holes_costs_nothing(place: Place) -> None:
    """It is larger than a run may leave; nobody reads its holes."""
    with open(place.folder / "huge", "wb") as huge:
        huge.truncate(1 << 40)
    (place.folder / "small").write_text("x")
    files, _, said = place()
    assert set(files) == {"small"}
    assert "1 more file written beside the source is not kept: a run may leave 1,048,576 bytes (SEALRUN_OUTPUT" in said
    assert "; --collect 'GLOB' chooses which\n" in said


def test_a_folder_is_searched_only_so_deep(place: Place) -> None:
    """Without a stack or a descriptor for each of a thousand."""
    dig(place.folder, 1_000)
    (place.folder / "top").write_text("x")
    files, _, said = place()
    assert set(files) == {"file", "top"}
    assert "what lies deeper than 64 folders is not kept: " in said and "more than a run may" not in said


def test_only_so_many_entries_are_looked_at(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor longer than a while; what was found until then is given, and --collect is not said to mend it."""
    monkeypatch.setattr(module, "ENTRIES", 50)
    for number in range(60):
        (place.folder / f"f{number:03}").touch()
    files, _, said = place()
    assert 0 < len(files) <= 50 and "more than 50 files and folders" in said and "--collect" not in said
    monkeypatch.setattr(module, "SECONDS", -1.0)
    files, _, said = place()
    assert files == {} and "seconds of looking" in said


def test_entries_are_counted_over_all_folders(layer: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """So no more of their names is held at a time, however deep they lie."""
    monkeypatch.setattr(module, "ENTRIES", 50)
    folder = layer.folder
    for _ in range(5):
        folder = folder / "a"
        folder.mkdir()
        for number in range(15):
            (folder / f"f{number:03}").touch()
    files, _, said = layer()
    assert 0 < len(files) <= 50 and "more than 50 files and folders" in said


@pytest.mark.parametrize("how", ["files", "bytes"])
def test_what_is_over_the_limits_is_told_in_one_line(place: Place, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the limit that it was, and what mends it."""
    monkeypatch.setattr(outputs, "FILES_LIMIT", 10)
    for number in range(15 if how == "files" else 5):
        (place.folder / f"f{number:04}").write_text("0123456789")
    files, withheld, said = place(1 << 20 if how == "files" else 30)
    assert len(files) == (10 if how == "files" else 3) and withheld == {}
    assert said.count("\n") == 2
    count, why = (5, "10 files") if how == "files" else (2, "30 bytes (SEALRUN_OUTPUT_LIMIT_MIB)")
    assert f"{count} more files written beside the source are not kept: a run may leave {why};" in said
    assert said.endswith("; --collect 'GLOB' chooses which\n")


def test_of_too_many_files_the_limit_of_files_is_the_reason(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not all of them were looked at: what is not kept is not kept for this."""
    monkeypatch.setattr(outputs, "FILES_LIMIT", 10)
    monkeypatch.setattr(module, "ENTRIES", 50)
    for number in range(60):
        (place.folder / f"f{number:03}").touch()
    files, _, said = place()
    assert len(files) == 10 and said.count("\n") == 2
    assert "at least " in said and "a run may leave 10 files; --collect 'GLOB' chooses which" in said


@pytest.mark.parametrize(
    ("patterns", "names", "said"),
    [
        (["nomatch*"], set(), "sealrun: 3 files were written beside the source, none matches --collect 'nomatch*'\n"),
        (["[", "a b"], set(), "sealrun: 3 files were written beside the source, none matches --collect '[' 'a b'\n"),
        (["*.db"], {"a.db", "sub/a.db"}, "wrote 2 files"),
    ],
    ids=["none", "odd", "some"],
)
def test_patterns_that_match_nothing_are_told(place: Place, patterns: list[str], names: set[str], said: str) -> None:
    """What is made anew anyway is nothing that anybody waits for; a name alone matches in every folder."""
    for name in ("a.db", "sub/a.db", "b.txt", "__pycache__/a.pyc", ".hidden"):
        (place.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (place.folder / name).write_text("x")
    place.collect = patterns
    files, _, told = place()
    assert set(files) == names and said in told
    for path in ("a.db", "sub/a.db", "b.txt"):
        (place.folder / path).unlink()
    assert place() == ({}, {}, "")


@root_only
def test_what_was_removed_is_told_whatever_is_collected(place: Place) -> None:
    """Patterns are about files that are given."""
    if place.how == "overlay":
        os.mknod(place.folder / "old.txt", stat.S_IFCHR, os.makedev(0, 0))
    else:
        (place.folder / "old.txt").unlink()
    place.collect = ["*.csv"]
    assert place() == ({}, {}, "sealrun: the run removed old.txt from its working folder; the source still has it\n")


def test_a_folder_that_is_gone_is_none(place: Place) -> None:
    """The run may remove it, or put a link in its place."""
    shutil.rmtree(place.folder)
    assert place() == ({}, {}, "")
    place.folder.symlink_to("/etc")
    assert place() == ({}, {}, "")


def test_patterns_choose(place: Place) -> None:
    """What is hidden only by a pattern that says so."""
    for name in ("a.csv", "target/a.json", "target/.user.yml", ".git/config", "__pycache__/x.pyc", "target/run/b.sql"):
        (place.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (place.folder / name).write_text("x")
    for patterns, names in (
        (["*.csv"], {"a.csv"}),
        (["target"], {"target/a.json", "target/run/b.sql"}),
        (["**/*.sql", "*.csv"], {"target/run/b.sql", "a.csv"}),
        ([".git/**", "target/.user.yml"], {".git/config", "target/.user.yml"}),
    ):
        place.collect = patterns
        assert set(place()[0]) == names, patterns


PATHS = ["a", "a.txt", "b/a.txt", "b/c/a.txt", ".a", "b/.a", ".b/a", "b/[x]", "b/x", "b/a-c", "*"]


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("*", {"a", "a.txt", "b/a.txt", "b/c/a.txt", "b/[x]", "b/x", "b/a-c", "*"}),
        ("./*", {"a", "a.txt", "b/a.txt", "b/c/a.txt", "b/[x]", "b/x", "b/a-c", "*"}),
        ("a.*", {"a.txt", "b/a.txt", "b/c/a.txt"}),
        ("./a.*", {"a.txt"}),
        ("c", {"b/c/a.txt"}),
        ("c/", {"b/c/a.txt"}),
        ("./c/", set()),
        ("**/a.txt", {"a.txt", "b/a.txt", "b/c/a.txt"}),
        ("b/*", {"b/a.txt", "b/c/a.txt", "b/[x]", "b/x", "b/a-c"}),
        ("b/a.*", {"b/a.txt"}),
        ("b//a.*", {"b/a.txt"}),
        ("c/a.*", set()),
        ("b/**/a.txt", {"b/a.txt", "b/c/a.txt"}),
        ("b/[xy]", {"b/x"}),
        ("b/[!x]", set()),
        ("b/?", {"b/x"} | {"b/c/a.txt"}),
        ("b/[[]x]", {"b/[x]"}),
        (".*", {".a", "b/.a", ".b/a"}),
        ("**/.a", {".a", "b/.a"}),
        (".a", {".a", "b/.a"}),
        ("./.a", {".a"}),
        (".b", {".b/a"}),
        ("./b/", {"b/a.txt", "b/c/a.txt", "b/[x]", "b/x", "b/a-c"}),
        ("[", set()),
        ("/b/x", {"b/x"}),
        ("../b/x", set()),
    ],
)
def test_a_pattern(pattern: str, taken: set[str]) -> None:
    """As in .gitignore, but that a dot has to be said, and that ./ is the source root."""
    if pattern == "b/[!x]":
        taken = {path for path in PATHS if re.fullmatch(r"b/[^x./](/.*)?", path)}
    assert {path for path in PATHS if Chosen([pattern]).takes(path)} == taken


@root_only
def test_whoever_collects_has_no_right_but_to_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run made cannot have it change anything; afterwards it can clear away again."""
    found: list[str] = []
    real: Callable[..., Any] = module._Search.give

    def give(self: Any, *more: Any) -> Any:
        found.append(Path("/proc/self/status").read_text())
        return real(self, *more)

    monkeypatch.setattr(module._Search, "give", give)
    before = re.findall(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text())
    place()
    assert re.findall(r"CapEff:\s*(\w+)", found[0]) == [f"{1 << 2:016x}"]
    assert re.findall(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text()) == before


def test_beneath_means_beneath(tmp_path: Path) -> None:
    """No link, no way up, whatever the flags say."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to("../secret")
    (tmp_path / "secret").write_text("s")
    handle = os.open(tmp_path / "in", os.O_RDONLY)
    for name in ("link", "../secret", "/etc/passwd", "gone"):
        with pytest.raises(OSError, match=r"."):
            kernel.open_beneath(name, os.O_RDONLY, handle)
    os.close(handle)


@pytest.mark.parametrize("patterns", [[], ["tool"]], ids=repr)
def test_a_program_stays_one_only_where_it_was_asked_for(place: Place, patterns: list[str]) -> None:
    """What somebody downloads is not to be started by mistake."""
    (place.folder / "tool").write_text("#!/bin/sh\n")
    (place.folder / "tool").chmod(0o755)
    place.collect = patterns
    assert set(place()[0]) == {"tool"} and place.programs == patterns
