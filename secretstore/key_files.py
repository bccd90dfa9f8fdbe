"""The two files of a local key: a key file that unwraps, and beside it a public file that can only wrap.

`local.key` is 0600 and holds the private half, `local.pub` the public half, which may be given to anybody who is to
create environments and to open none. Both are read and checked at each use.
"""

import errno
import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey

from secretstore.errors import AlreadyExists, KeyFileMissing, KeyFileUnusable
from secretstore.home import private_folder

PUBLIC = ".pub"
"""The suffix of a public file."""

_PRIVATE_COMMENT = (
    "# sealrun local key: with it anybody can open the secrets sealed under it, without it nobody. Keep a copy.\n"
)
_PUBLIC_COMMENT = "# sealrun local key, public half: it wraps keys of environments, and opens nothing.\n"
_PRIVATE_PREFIX = "sealrun-local-private-1:"
_PUBLIC_PREFIX = "sealrun-local-public-1:"
_SEED, _MLKEM_PUBLIC, _X25519 = 64, 1184, 32
MARK = 8
"""Bytes of a mark."""

_FILE_LIMIT = 4096
_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class PublicHalf:
    """The public half of a local key."""

    mlkem: MLKEM768PublicKey
    x25519: X25519PublicKey

    def to_bytes(self) -> bytes:
        """Return the raw parts, 1,216 bytes."""
        return self.mlkem.public_bytes_raw() + self.x25519.public_bytes_raw()

    @property
    def mark(self) -> bytes:
        """What names the key: the first eight bytes of its hash."""
        return sha256(b"sealrun local key" + self.to_bytes()).digest()[:MARK]

    def hybrid(self) -> MLKEM768X25519PublicKey:
        """Return the key as HPKE takes it."""
        return MLKEM768X25519PublicKey(self.mlkem, self.x25519)


@dataclass(frozen=True, repr=False)
class PrivateHalf:
    """The private half of a local key; its repr says nothing."""

    mlkem: MLKEM768PrivateKey
    x25519: X25519PrivateKey

    def public(self) -> PublicHalf:
        """Return the other half."""
        return PublicHalf(self.mlkem.public_key(), self.x25519.public_key())

    def to_bytes(self) -> bytes:
        """Return 96 bytes of plaintext: the 64-byte ML-KEM seed and the X25519 scalar."""
        return self.mlkem.private_bytes_raw() + self.x25519.private_bytes_raw()

    def hybrid(self) -> MLKEM768X25519PrivateKey:
        """Return the key as HPKE takes it."""
        return MLKEM768X25519PrivateKey(self.mlkem, self.x25519)


def public_path(path: Path) -> Path:
    """Return the public file that belongs to a key file: the same name with `.pub`, as `local.pub` to `local.key`."""
    return path.with_suffix(PUBLIC)


def create_local_key(path: Path) -> None:
    """Create a key file, 0600, and its public file, 0644, in a folder of 0700; an existing one is never overwritten.

    Raises:
        AlreadyExists: there is one of the two.
        KeyFileUnusable: others can write to its folder, or the name is a public file's.
    """
    if path.suffix == PUBLIC:
        why = f"a name that ends in {PUBLIC} is its public half's"
        raise KeyFileUnusable(path=path, why=why, hint=f"give the key file's name, as in {path.with_suffix('.key')}")
    try:
        private_folder(path.parent)
    except OSError as problem:
        why = f"its folder cannot be created: {(problem.strerror or 'no reason given').lower()}"
        raise KeyFileUnusable(path=path, why=why) from None
    private = PrivateHalf(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())
    public = public_path(path)
    with _folder(path) as folder:
        if _is_there(public.name, folder):
            raise _taken(public)
        _write(path, folder, 0o600, _PRIVATE_COMMENT + _PRIVATE_PREFIX + _text(private.to_bytes()))
        try:
            _write(public, folder, 0o644, _PUBLIC_COMMENT + _PUBLIC_PREFIX + _text(private.public().to_bytes()))
        except AlreadyExists:  # put there at this very moment, by somebody else
            os.unlink(path.name, dir_fd=folder)
            raise
        finally:
            os.fsync(folder)


def read_private(path: Path) -> PrivateHalf:
    """Return the private half in a key file.

    Raises:
        KeyFileMissing: there is none.
        KeyFileUnusable: it, or its folder, is open to others, or it is no key file.
    """
    raw = _read(path, _check_private)
    key = _parse(path, raw, _PRIVATE_PREFIX, _SEED + _X25519)
    return PrivateHalf(
        MLKEM768PrivateKey.from_seed_bytes(key[:_SEED]), X25519PrivateKey.from_private_bytes(key[_SEED:])
    )


def read_public(path: Path) -> PublicHalf:
    """Return the public half in a public file.

    Raises:
        KeyFileMissing: there is none.
        KeyFileUnusable: others can change it or its folder, or it is no public file.
    """
    raw = _read(path, _check_public)
    key = _parse(path, raw, _PUBLIC_PREFIX, _MLKEM_PUBLIC + _X25519)
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(key[:_MLKEM_PUBLIC])
    except ValueError:
        raise _no_key_file(path, _PUBLIC_PREFIX) from None
    return PublicHalf(mlkem, X25519PublicKey.from_public_bytes(key[_MLKEM_PUBLIC:]))


def is_there(path: Path) -> bool:
    """Whether a file has this name, be it readable or not.

    Raises:
        KeyFileMissing: its folder is not there.
        KeyFileUnusable: its folder cannot be opened, or others can write to it.
    """
    with _folder(path) as folder:
        return _is_there(path.name, folder)


def _is_there(name: str, folder: int) -> bool:
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def _write(path: Path, folder: int, mode: int, line: str) -> None:
    unfinished = f".{path.name}.{os.urandom(8).hex()}"
    try:
        file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        with open(file, "w", encoding="ascii") as out:
            out.write(line + "\n")
            out.flush()
            os.fchmod(file, mode)
            os.fsync(file)
        # A link, unlike a rename, fails when the name is taken: two creators cannot overwrite each other.
        os.link(unfinished, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    except FileExistsError:
        raise _taken(path) from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(unfinished, dir_fd=folder)


def _taken(path: Path) -> AlreadyExists:
    return AlreadyExists("there is a key file at {path} already; it is never overwritten", path=path)


def _read(path: Path, check: Callable[[Path, os.stat_result], None]) -> bytes:
    with _folder(path) as folder:
        try:
            # Non-blocking: opening a FIFO must not hang.
            file = os.open(path.name, os.O_RDONLY | _NO_LINK | os.O_NONBLOCK, dir_fd=folder)
        except FileNotFoundError:
            raise KeyFileMissing(path=path) from None
        except OSError as problem:
            why = "it is a symbolic link" if problem.errno == errno.ELOOP else "this user cannot read it"
            raise KeyFileUnusable(path=path, why=why) from None
        with open(file, "rb", buffering=0) as raw:
            check(path, os.fstat(file))
            return raw.read(_FILE_LIMIT) or b""


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    """Open the file's folder and check that descriptor, so that nobody swaps the folder after the check."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KeyFileMissing(path=path) from None
    except OSError:
        raise KeyFileUnusable(path=path, why="this user cannot open its folder") from None
    try:
        found = os.fstat(folder)
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise KeyFileUnusable(path=path, why="others can write to its folder")
        if found.st_uid not in (os.geteuid(), 0):
            raise KeyFileUnusable(path=path, why="its folder belongs to another user")
        yield folder
    finally:
        os.close(folder)


def _check_private(path: Path, found: os.stat_result) -> None:
    _check_owner(path, found)
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileUnusable(path=path, why="users other than its owner can access it; chmod 600 it")


def _check_public(path: Path, found: os.stat_result) -> None:
    # Who can change it has keys wrapped for a key of their own. Reading it gives nothing.
    hint = "it must be a regular file of yours or root's that nobody else can change, in such a folder"
    _check_owner(path, found, hint)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise KeyFileUnusable(path=path, why="users other than its owner can change it; chmod 644 it", hint=hint)


def _check_owner(path: Path, found: os.stat_result, hint: str | None = None) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileUnusable(path=path, why="it is not a regular file", hint=hint)
    if found.st_uid not in (os.geteuid(), 0):
        raise KeyFileUnusable(path=path, why="it belongs to another user", hint=hint)


def _parse(path: Path, raw: bytes, prefix: str, size: int) -> bytes:
    text = raw.decode("ascii", "replace")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if len(lines) != 1 or not lines[0].startswith(prefix):
        raise _no_key_file(path, prefix)
    try:
        key = b64decode(lines[0].removeprefix(prefix), validate=True)
    except ValueError:
        raise _no_key_file(path, prefix) from None
    if len(key) != size:
        raise _no_key_file(path, prefix)
    return key


def _no_key_file(path: Path, prefix: str) -> KeyFileUnusable:
    if prefix == _PUBLIC_PREFIX:
        hint = "copy it anew from where the key file is"
        return KeyFileUnusable("{path} is not the public half of a sealrun key file", path=path, hint=hint)
    hint = "restore your copy; a new key file cannot open secrets sealed under the old one"
    return KeyFileUnusable("{path} is not a sealrun key file", path=path, hint=hint)


def _text(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")
