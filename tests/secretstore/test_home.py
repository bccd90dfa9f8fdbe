"""SEALRUN_HOME: its owner's alone, whoever makes it and whichever file comes first."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from secretstore.database import Database
from secretstore.errors import FolderUnusable
from secretstore.home import check_home, ensure_home
from secretstore.key_files import create_local_key
from secretstore.pin import Pin
from secretstore.pins import Pins


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """What is left to the umask is open to everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("first", ["home", "key file", "database", "known keys"])
def test_i1_whatever_is_made_first_makes_the_home_private(tmp_path: Path, first: str) -> None:
    """I1: with all that is missing above it; a key below a home that anybody may enter is a key for anybody."""
    home = tmp_path / "a/sealrun"
    if first == "home":
        ensure_home(home)
        ensure_home(home)
    elif first == "key file":
        create_local_key(home / "keys/local.key")
        assert mode(home / "keys") == 0o700
    elif first == "database":
        db = Database(f"sqlite:///{home}/db/x.db")
        with db.engine.connect():
            pass
        db.close()
        assert mode(home / "db") == 0o700
    else:
        Pins(home / "known_keys", "sqlite://").remember("shop", "prod", Pin("1" * 32, "2" * 32, 1, "0f" * 32))
    assert (mode(home), mode(home.parent)) == (0o700, 0o700)


@pytest.mark.parametrize(("bits", "whose"), [(0o770, "its group can write"), (0o777, "everybody can write")])
def test_a_home_that_others_can_write_to_is_refused(tmp_path: Path, bits: int, whose: str) -> None:
    """Who can put a key file there decides what is sealed to whom."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(bits)
    with pytest.raises(FolderUnusable, match=whose):
        ensure_home(home)
    home.chmod(0o755)
    check_home(home)
    check_home(tmp_path / "none")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_home_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """Root's commands, too: its owner could exchange what root relies on."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 60600, 60600)
    with pytest.raises(FolderUnusable, match="belongs to user id 60600") as refused:
        ensure_home(home)
    assert refused.value.hint == "set SEALRUN_HOME to a folder of your own"


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """With a sentence."""
    (tmp_path / "home").touch()
    for home in (tmp_path / "home", tmp_path / "home/below"):
        with pytest.raises(FolderUnusable, match="SEALRUN_HOME cannot be used"):
            ensure_home(home)
