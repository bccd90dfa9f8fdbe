"""What ignore files leave out: as git has it, asked of git itself."""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.errors import FileUnreadable
from executor.source.ignoring import USUAL, Ignoring

NAMES = (
    "a", "b", "ab", "foo", "bar", "a.log", "b.log", "x y", "a[b", "-", "!x", "#y", "]", "a b ", "A", "é", "foo.d",
    ".env", "\\q", "**", "a-z", "^",
)  # fmt: skip
PIECES = (
    "a", "b", "*", "**", "?", "/", "/", "foo", "bar", ".log", "[ab]", "[!a]", "[a-c]", "[^/]", "[]]", "[[:alpha:]]",
    "[[:foo:]]", "[", "\\", "\\*", "!", "#", " ", "x", "-", "[a-]", "[\\]]", "[z-a]", "é", ".d", "[b-", "]", "^", "***",
    "[[:alpha:]-z]", "[-a]",
)  # fmt: skip


def ignored(root: Path) -> set[str]:
    """What is left out of a folder, without what lies in it."""

    def walked(folder: Path, way: str, ignoring: Ignoring) -> Iterator[str]:
        for name in os.listdir(folder):
            place, is_folder = folder / name, (folder / name).is_dir()
            if ignoring.ignores(os.fsencode(name), is_folder):
                yield way + name
            elif is_folder and name != ".git":
                yield from walked(place, f"{way}{name}/", ignoring.beneath(os.fsencode(name)).within(place))

    return set(walked(root, "", Ignoring.at(root)))


def ignored_by_git(root: Path) -> set[str]:
    """The same, as `git check-ignore` says, with what is usual as a list of its own."""
    usual = root / ".git" / "usual"
    usual.write_bytes(USUAL)
    paths = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != ".git"]
        paths += [os.path.relpath(os.path.join(folder, name), root) for name in folders + files]
    said = subprocess.run(
        ["git", "-C", root, "-c", f"core.excludesFile={usual}", "check-ignore", "--no-index", "-z", "--stdin"],
        input=b"".join(os.fsencode(path) + b"\0" for path in paths),
        capture_output=True,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"},
    )
    assert said.returncode in (0, 1), said.stderr
    found = {os.fsdecode(path) for path in said.stdout.split(b"\0") if path}
    return {path for path in found if not any(str(above) in found for above in Path(path).parents)}


def write(root: Path, path: str, text: str | bytes = b"") -> None:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text.encode() if isinstance(text, str) else text)


def grow(chance: random.Random, folder: Path, depth: int = 0) -> None:
    """A folder of odd names with odd ignore files."""
    folder.mkdir()
    for name in chance.sample(NAMES, chance.randint(2, 5)):
        if depth < 3 and chance.random() < 0.5:
            grow(chance, folder / name, depth + 1)
        else:
            (folder / name).touch()
    if chance.random() < 0.5:
        lines = ["".join(chance.choices(PIECES, k=chance.randint(1, 5))) for _ in range(chance.randint(1, 4))]
        if chance.random() < 0.6:
            lines = [chance.choice(["", "", "!"]) + line + chance.choice(["", "", "", "/"]) for line in lines]
        text = "\n".join(lines) + chance.choice(["", "\n", "\r\n", " \n"])
        (folder / ".gitignore").write_bytes(text.encode())


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here to be compared with")
def test_git_says_the_same(tmp_path: Path) -> None:
    """A hundred folders with every kind of pattern, broken ones too, in nested ignore files."""
    root = tmp_path / "checkout"
    subprocess.run(["git", "init", "-q", root], check=True, capture_output=True)
    for seed in range(120):
        grow(random.Random(seed), root / str(seed))
    by_git = ignored_by_git(root)
    assert len(by_git) > 150
    assert ignored(root) == by_git


def test_our_own_file_stands_over_gits(tmp_path: Path) -> None:
    """`.sealrunignore` is read after `.gitignore` of its folder: it leaves out more, and takes in again."""
    for path in ("data/big.csv", "data/small.csv", "secret.env", "docs/page.md", "sub/deep/x.log", "sub/y.log"):
        write(tmp_path, path)
    write(tmp_path, ".gitignore", "*.csv\n*.log\n")
    write(tmp_path, ".sealrunignore", "!small.csv\n/docs/\n*.env\n")
    write(tmp_path, "sub/.sealrunignore", "!y.log\n")
    assert ignored(tmp_path) == {"data/big.csv", "docs", "secret.env", "sub/deep/x.log"}


def test_a_root_within_a_checkout(tmp_path: Path) -> None:
    """The checkout's own lines above the source root count, those above the checkout do not."""
    root = tmp_path / "checkout" / "team" / "jobs"
    for path in ("a.log", "team.txt", "jobs.txt", "other", "local"):
        write(root, path)
    write(tmp_path, ".gitignore", "other\n")
    write(tmp_path, "checkout/.git/HEAD")
    write(tmp_path, "checkout/.gitignore", "*.log\n/team/jobs/team.txt\n/jobs.txt\n")
    write(tmp_path, "checkout/team/.sealrunignore", "/jobs/local\n")
    assert ignored(root) == {"a.log", "team.txt", "local"}


def test_a_root_that_is_ignored_itself_is_whole(tmp_path: Path) -> None:
    """Who starts a run in it means it."""
    write(tmp_path, ".git/HEAD")
    write(tmp_path, ".gitignore", "build/\n")
    write(tmp_path, "build/job.py")
    assert ignored(tmp_path / "build") == set()


def test_lines_as_editors_write_them(tmp_path: Path) -> None:
    """A byte order mark, carriage returns and trailing spaces are no part of a pattern."""
    for path in ("a", "b", "c", "d "):
        write(tmp_path, path)
    write(tmp_path, ".gitignore", b"\xef\xbb\xbfa\r\nb   \r\n# c\n\nd\\ \n")
    assert ignored(tmp_path) == {"a", "b", "d "}


def test_an_ignore_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Else what it leaves out would be uploaded."""
    (tmp_path / ".gitignore").symlink_to(".gitignore")
    with pytest.raises(FileUnreadable, match=r"\.gitignore cannot be read"):
        Ignoring.at(tmp_path)
