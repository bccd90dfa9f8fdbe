"""An answer that was read from files is given again only while they are the same (I3: it says what a run may read)."""

import os
import time
from pathlib import Path

import pytest

from executor.python import layout, remembering
from executor.python.layout import interpreter_paths
from executor.python.remembering import Remembered


class Counting:
    """Reads a file, or where a link leads, and counts how often."""

    def __init__(self, *files: Path) -> None:
        self.files, self.count = files, 0
        self.answers = Remembered(self._find, lambda _: self.files)

    def _find(self, key: str) -> str:
        self.count += 1
        return key + "".join(one.read_text() if one.exists() else "-" for one in self.files)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the files had been there for long."""
    monkeypatch.setattr(remembering, "_SETTLED", -(10**12))


@pytest.mark.usefixtures("settled")
def test_it_is_asked_once_for_each_key(tmp_path: Path) -> None:
    """What is not there is something that was seen, too."""
    (tmp_path / "one").write_text("1")
    known = Counting(tmp_path / "one", tmp_path / "none")
    assert [known.answers("a"), known.answers("a"), known.answers("b")] == ["a1-", "a1-", "b1-"]
    assert known.count == 2


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("how", ["written to", "replaced, dated back", "removed", "made", "another link"])
def test_i3_a_change_is_seen(tmp_path: Path, how: str) -> None:
    """Whoever owns a file can set the time at which it was written, not the one at which it changed."""
    file, link = tmp_path / "file", tmp_path / "link"
    for name in ("file", "else"):
        (tmp_path / name).write_text(name)
    link.symlink_to("file")
    known = Counting(file, link, tmp_path / "new")
    before, found = known.answers(""), os.stat(file)
    if how == "written to":
        file.write_text("elif")
        os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    elif how == "replaced, dated back":
        (tmp_path / "other").write_text("elif")
        os.utime(tmp_path / "other", ns=(found.st_atime_ns, found.st_mtime_ns))
        (tmp_path / "other").rename(file)
    elif how == "removed":
        file.unlink()
    elif how == "made":
        (tmp_path / "new").write_text("n")
    else:
        link.unlink()
        link.symlink_to("else")
    assert known.answers("") != before and known.count == 2


def test_i3_what_has_just_changed_is_not_kept(tmp_path: Path) -> None:
    """A second change within the grain of the file system's clock would not show."""
    (tmp_path / "one").write_text("1")
    known = Counting(tmp_path / "one")
    assert [known.answers(""), known.answers("")] == ["1", "1"]
    assert known.count == 2


@pytest.mark.usefixtures("settled")
def test_what_changes_while_it_is_read_is_not_kept(tmp_path: Path) -> None:
    """The answer may be of what was there in between."""
    file = tmp_path / "one"
    file.write_text("1")
    known = Counting(file)
    read = known._find

    def slow(key: str) -> str:
        answer = read(key)
        file.write_text(str(time.monotonic_ns()))
        return answer

    changing = Remembered(slow, lambda _: [file])
    changing("")
    assert changing("") != "1" and known.count == 2


@pytest.mark.usefixtures("settled")
def test_i3_an_environment_that_leads_elsewhere_is_looked_at_anew(tmp_path: Path) -> None:
    """By its link, by its pyvenv.cfg, by what makes a folder an installation."""
    for name in ("first", "second"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin/python3").write_bytes(b"\x7fELF")
        (tmp_path / name / "bin/python3").chmod(0o755)
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text(f"home = {tmp_path}/first/bin\n")
    (venv / "bin/python3").symlink_to(tmp_path / "first/bin/python3")

    def opened() -> set[Path]:
        return set(interpreter_paths(str(venv / "bin/python3"))[1])

    assert opened() >= {venv, tmp_path / "first/bin"} and tmp_path / "first" not in opened()
    standard = tmp_path / "first/lib/python3.11"
    standard.mkdir(parents=True)
    (standard / "os.py").touch()
    assert tmp_path / "first" in opened()
    (standard / "os.py").unlink()
    assert tmp_path / "first" not in opened()
    (venv / "bin/python3").unlink()
    (venv / "bin/python3").symlink_to(tmp_path / "second/bin/python3")
    assert opened() >= {tmp_path / "first/bin", tmp_path / "second/bin"}
    (venv / "pyvenv.cfg").write_text(f"home = {tmp_path}/second/bin\n")
    assert tmp_path / "first/bin" not in opened()


@pytest.mark.usefixtures("settled")
def test_a_run_asks_files_and_not_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time, nothing but the state of what was read from is looked at."""
    python = tmp_path / "bin/python3"
    python.parent.mkdir()
    python.write_bytes(b"\x7fELF")
    python.chmod(0o755)
    first = interpreter_paths(str(python))
    monkeypatch.setattr(layout, "_parts", None)
    assert interpreter_paths(str(python)) == first
