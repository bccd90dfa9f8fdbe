"""Log-ins that are kept: a token for each origin, in the keyring if there is one, else in a file of mode 0600."""

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.sandbox.reading import all_of
from secretstore.errors import FolderUnusable
from secretstore.home import ensure_home

_FILE = "servers"
_SIZE_LIMIT = 1 << 20  # bytes
_SERVICE = "sealrun"
"""The keyring's word for what is kept there."""


@dataclass(frozen=True)
class LogIn:
    """A kept log-in: who, where, and the token."""

    origin: str
    name: str
    token: str = field(repr=False)


class LogIns:
    """The kept log-ins of one user, and which of their servers commands speak to."""

    def __init__(self, home: Path) -> None:
        """Nothing is read yet."""
        self._home, self._path = home, home / _FILE

    @property
    def current(self) -> str | None:
        """The server that was logged in to last, and not left since.

        Raises:
            FolderUnusable: what is kept cannot be read.
        """
        found = self._read().get("current")
        return found if isinstance(found, str) else None

    def of(self, origin: str) -> LogIn | None:
        """The log-in to a server.

        Raises:
            FolderUnusable: what is kept cannot be read.
        """
        found = self._read()["servers"].get(origin)
        if not isinstance(found, dict):
            return None
        token = found.get("token")
        if token is None and (keyring := _keyring()) is not None:
            token = keyring.get_password(_SERVICE, origin)
        return LogIn(origin, str(found.get("name", "")), token) if isinstance(token, str) else None

    def keep(self, origin: str, name: str, token: str) -> str:
        """Keep a log-in, and speak to this server from now on; where it is kept, in words.

        Raises:
            FolderUnusable: it cannot be written.
        """
        kept: dict[str, Any] = {"name": name}
        where = "the keyring"
        if not _in_keyring(origin, token):
            kept["token"], where = token, str(self._path)
        with self._changing() as found:
            found["servers"][origin] = kept
            found["current"] = origin
        return where

    def forget(self, origin: str) -> bool:
        """Forget a log-in; False if there was none.

        Raises:
            FolderUnusable: it cannot be written.
        """
        with self._changing() as found:
            there = found["servers"].pop(origin, None) is not None
            if found.get("current") == origin:
                found["current"] = None
        if (keyring := _keyring()) is not None:
            with contextlib.suppress(Exception):  # whatever a keyring raises: it has none of this name
                keyring.delete_password(_SERVICE, origin)
        return there

    def _read(self) -> dict[str, Any]:
        try:
            if self._path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise FolderUnusable(
                    path=self._path, why="others can read it, and it holds tokens", hint=f"chmod 600 {self._path}"
                )
            found = json.loads(all_of(self._path, _SIZE_LIMIT))
        except (FileNotFoundError, NotADirectoryError):  # of a home that is no folder whoever needs it says so
            return {"servers": {}, "current": None}
        except OSError as error:
            raise FolderUnusable(path=self._path, why=(error.strerror or "it cannot be read").lower()) from None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("servers"), dict):
            why = "it is not what sealrun wrote there"
            raise FolderUnusable(path=self._path, why=why, hint="remove it, and log in again: sealrun login URL")
        return found

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """What is kept, to be changed by one at a time; a reader sees all of it or none."""
        ensure_home(self._home)
        try:
            lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FolderUnusable(path=self._path, why=(error.strerror or "it cannot be written").lower()) from None
        unfinished = self._path.with_name(f".{_FILE}.{os.urandom(8).hex()}")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = self._read()
            yield found
            with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as out:
                json.dump(found, out, indent=1)
                out.write("\n")
            os.replace(unfinished, self._path)
        except OSError as error:
            raise FolderUnusable(path=self._path, why=(error.strerror or "it cannot be written").lower()) from None
        finally:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            os.close(lock)


def _keyring() -> Any:
    """The library `keyring`, where it is installed and has somewhere to keep things; None else."""
    try:
        import keyring
    except ImportError:
        return None
    # Its stand-ins for "there is none" have a priority of 0 and below.
    return keyring if getattr(keyring.get_keyring(), "priority", 0) > 0 else None


def _in_keyring(origin: str, token: str) -> bool:
    keyring = _keyring()
    if keyring is None:
        return False
    try:
        keyring.set_password(_SERVICE, origin, token)
    except Exception:  # noqa: BLE001  # locked, or its service is away: each backend has errors of its own
        return False
    return True
