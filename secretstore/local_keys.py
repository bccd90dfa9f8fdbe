"""The local key service: a key file of 32 random bytes that wraps private keys with AES-256-GCM.

It protects against a stolen database, not against another process of the same user, who can read the file too.
A wrapped key is `version u8 | fingerprint of the key file, 8 bytes | nonce, 12 bytes | ciphertext and tag`.
"""

import errno
import json
import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secretstore.errors import AlreadyExists, KeyFileMissing, KeyFileUnusable, WrapBroken
from secretstore.home import private_folder
from secretstore.key_service import KeyService

_COMMENT = (
    "# sealrun local key: with it anybody can open the secrets sealed under it, without it nobody. Keep a copy.\n"
)
_PREFIX = "sealrun-local-key-1:"
_WRAPPED_FORM = b"\x01"
_KEY, _MARK, _NONCE = 32, 8, 12
_FILE_LIMIT = 4096
_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC


class LocalKeys:
    """The key service of one key file, which is read and checked at each use."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        """`local:` and the first 16 hexadecimal digits of the key's fingerprint."""
        return f"local:{_mark(_read_key(self.path)).hex()}"

    def wrap(self, private_key: bytes, context: Mapping[str, str]) -> bytes:
        """Wrap a private key for this context.

        Raises:
            KeyFileMissing, KeyFileUnusable: the key file cannot be used.
        """
        key = _read_key(self.path)
        head, nonce = _WRAPPED_FORM + _mark(key), os.urandom(_NONCE)
        return head + nonce + AESGCM(key).encrypt(nonce, private_key, _bound(head, context))

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Unwrap what `wrap` made with this key file for this context.

        Raises:
            KeyFileMissing, KeyFileUnusable: the key file cannot be used, or is not the one it was wrapped under.
            WrapBroken: it was altered, or wrapped for another context.
        """
        head, nonce, body = _split(wrapped)
        key = _read_key(self.path)
        if head[1:] != _mark(key):
            raise KeyFileUnusable(
                "the key file {path} holds key {found}, but the private key was wrapped under key {wanted}",
                path=self.path,
                wanted=head[1:].hex(),
                found=_mark(key).hex(),
                hint=f"point SEALRUN_KEYS at the file of key {head[1:].hex()}",
            )
        try:
            return AESGCM(key).decrypt(nonce, body, _bound(head, context))
        except InvalidTag:
            raise WrapBroken from None

    def rewrap(self, wrapped: bytes, context: Mapping[str, str], under: KeyService) -> bytes:
        """Wrap the same private key under another service; it is plaintext in this process for a moment."""
        return under.wrap(self.unwrap(wrapped, context), context)


def create_local_key(path: Path) -> None:
    """Create a key file, 0600 in a folder of 0700; an existing one is never overwritten.

    Raises:
        AlreadyExists: there is one.
        KeyFileUnusable: others can write to its folder.
    """
    try:
        private_folder(path.parent)
    except OSError as problem:
        why = f"its folder cannot be created: {(problem.strerror or 'no reason given').lower()}"
        raise KeyFileUnusable(path=path, why=why) from None
    with _folder(path) as folder:
        unfinished = f".{path.name}.{os.urandom(8).hex()}"
        try:
            _write(unfinished, folder, _COMMENT + _PREFIX + b64encode(os.urandom(_KEY)).decode() + "\n")
            # A link, unlike a rename, fails when the name is taken: two creators cannot overwrite each other.
            os.link(unfinished, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except FileExistsError:
            raise AlreadyExists("there is a key file at {path} already; it is never overwritten", path=path) from None
        finally:
            with suppress(FileNotFoundError):
                os.unlink(unfinished, dir_fd=folder)
            os.fsync(folder)


def _write(name: str, folder: int, text: str) -> None:
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with open(file, "w", encoding="ascii") as out:
        out.write(text)
        out.flush()
        os.fsync(file)


def _read_key(path: Path) -> bytes:
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
            _check_file(path, os.fstat(file))
            return _parse(path, raw.read(_FILE_LIMIT) or b"")


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


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileUnusable(path=path, why="it is not a regular file")
    if found.st_uid not in (os.geteuid(), 0):
        raise KeyFileUnusable(path=path, why="it belongs to another user")
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileUnusable(path=path, why="users other than its owner can access it; chmod 600 it")


def _parse(path: Path, raw: bytes) -> bytes:
    text = raw.decode("ascii", "replace")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if len(lines) != 1 or not lines[0].startswith(_PREFIX):
        raise _no_key_file(path)
    try:
        key = b64decode(lines[0].removeprefix(_PREFIX), validate=True)
    except ValueError:
        raise _no_key_file(path) from None
    if len(key) != _KEY:
        raise _no_key_file(path)
    return key


def _no_key_file(path: Path) -> KeyFileUnusable:
    hint = "restore your copy; a new key file cannot open secrets sealed under the old one"
    return KeyFileUnusable("{path} is not a sealrun key file", path=path, hint=hint)


def _mark(key: bytes) -> bytes:
    """Return a name for a key that reveals nothing of it: eight bytes of its hash."""
    return sha256(b"sealrun local key" + key).digest()[:_MARK]


def _split(wrapped: bytes) -> tuple[bytes, bytes, bytes]:
    start = len(_WRAPPED_FORM) + _MARK
    if not wrapped.startswith(_WRAPPED_FORM) or len(wrapped) < start + _NONCE:
        raise WrapBroken
    return wrapped[:start], wrapped[start : start + _NONCE], wrapped[start + _NONCE :]


def _bound(head: bytes, context: Mapping[str, str]) -> bytes:
    return head + json.dumps(dict(context), sort_keys=True, separators=(",", ":")).encode("ascii")
