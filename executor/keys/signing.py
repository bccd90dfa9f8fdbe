"""The file of a server's signing key: PKCS #8 in PEM, 0600, with its public half in words before it."""

import contextlib
import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from executor.boundary.plans import Signer, SigningKey
from secretstore.errors import AlreadyExists, KeyFileMissing, KeyFileUnusable
from secretstore.home import private_folder

_LIMIT = 4096
_REPLACED = "workers that name its public half in SEALRUN_SIGNERS take what is signed with it, and with no other"


def create_signing_key(path: Path) -> Signer:
    """Make a signing key in a file of its own, and return its public half; a file that is there is never overwritten.

    Raises:
        AlreadyExists: there is a file.
        KeyFileUnusable: it cannot be made.
    """
    private = Ed25519PrivateKey.generate()
    signer = SigningKey(private).signer
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        with contextlib.suppress(FileExistsError):  # it is no folder: what follows says so
            private_folder(path.parent)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise AlreadyExists("there is a file at {path} already; it is never overwritten", path=path) from None
    except OSError as problem:
        why = f"it cannot be made: {(problem.strerror or 'no reason given').lower()}"
        raise KeyFileUnusable(path=path, why=why) from None
    with open(file, "wb") as out:
        out.write(f"sealrun signing key; for SEALRUN_SIGNERS: {signer}\n".encode() + pem)
        out.flush()
        os.fsync(file)
    return signer


def read_signing_key(path: Path) -> SigningKey:
    """Read the key of a file.

    Raises:
        KeyFileMissing: there is none.
        KeyFileUnusable: it is open to others, or it is no signing key.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        hint = f"restore your copy, or make a new one: sealrun key create --signing {path}"
        raise KeyFileMissing("there is no signing key at {path}", path=path, hint=hint) from None
    except OSError:
        raise KeyFileUnusable(path=path, why="this user cannot read it") from None
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in (os.geteuid(), 0):
        os.close(file)
        raise KeyFileUnusable(path=path, why="it is no regular file of this user's")
    with open(file, "rb", buffering=0) as raw:
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise KeyFileUnusable(path=path, why="users other than its owner can access it; chmod 600 it")
        try:
            key = serialization.load_pem_private_key(raw.read(_LIMIT) or b"", None)
        except (ValueError, TypeError):
            key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileUnusable("{path} is not a signing key", path=path, hint=_REPLACED)
    return SigningKey(key)
