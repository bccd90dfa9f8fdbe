"""The local key service: a public file wraps private keys, and a key file unwraps them.

It protects against a stolen database, not against another process of the user who can read the key file. Who has the
public file alone can create environments and open none, as with AWS KMS who may call Encrypt alone.

A wrapped key is `version u8 | mark of the local key, 8 bytes | HPKE`, by the same suite that seals values. Version,
mark and context are HPKE's `info`. HPKE does not say who wrapped: whoever has the public file could.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from secretstore.errors import KeyFileMissing, KeyFileUnusable, PublicHalfOnly, WrapBroken
from secretstore.key_files import MARK, PUBLIC, PublicHalf, is_there, public_path, read_private, read_public
from secretstore.key_service import KeyService

_HPKE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_WRAPPED_FORM = b"\x01"
_LABEL = b"sealrun wrapped key"


class LocalKeys:
    """The key service of one local key, whose files are read and checked at each use."""

    def __init__(self, path: Path) -> None:
        """Name the files; none is read yet.

        Args:
            path: the key file; or, ending in `.pub`, the public file alone, which unwraps nothing.
        """
        self.path = path
        self.public_path = public_path(path)
        self.is_public_alone = path.suffix == PUBLIC

    @property
    def id(self) -> str:
        """`local:` and the first 16 hexadecimal digits of the public half's hash: under which key it wraps."""
        return _named(self._public())

    @property
    def opening_id(self) -> str:
        """The same of the key file: what it can unwrap.

        Raises:
            PublicHalfOnly, KeyFileMissing, KeyFileUnusable: it can unwrap nothing.
        """
        if self.is_public_alone:
            raise PublicHalfOnly(path=self.path)
        return _named(read_private(self.path).public())

    @property
    def may_unwrap(self) -> bool:
        """Whether there is a key file; what is wrong with it `unwrap` says."""
        return not self.is_public_alone and is_there(self.path)

    def wrap(self, private_key: bytes, context: Mapping[str, str]) -> bytes:
        """Wrap a private key for this context, with the public file alone if there is one.

        Raises:
            KeyFileMissing, KeyFileUnusable: neither file can be used.
        """
        public = self._public()
        head = _WRAPPED_FORM + public.mark
        return head + _HPKE.encrypt(private_key, public.hybrid(), info=_bound(head, context))

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Unwrap what `wrap` made with this local key for this context.

        Raises:
            PublicHalfOnly: the settings name the public file.
            KeyFileMissing, KeyFileUnusable: the key file cannot be used, or is not the one it was wrapped under.
            WrapBroken: it was altered, or wrapped for another context.
        """
        head, body = _split(wrapped)
        if self.is_public_alone:
            raise PublicHalfOnly(path=self.path)
        private = read_private(self.path)
        mark = private.public().mark
        if head[len(_WRAPPED_FORM) :] != mark:
            wanted = head[len(_WRAPPED_FORM) :].hex()
            raise KeyFileUnusable(
                "the key file {path} holds key {found}, but the private key was wrapped under key {wanted}",
                path=self.path,
                wanted=wanted,
                found=mark.hex(),
                hint=f"point SEALRUN_KEYS at the file of key {wanted}",
            )
        try:
            return _HPKE.decrypt(body, private.hybrid(), info=_bound(head, context))
        except InvalidTag:
            raise WrapBroken from None

    def rewrap(self, wrapped: bytes, context: Mapping[str, str], under: KeyService) -> bytes:
        """Wrap the same private key under another service; it is plaintext in this process for a moment."""
        return under.wrap(self.unwrap(wrapped, context), context)

    def _public(self) -> PublicHalf:
        # A key file that is gone is a loss, which wrapping for it would hide. One that is another user's is not.
        if not self.is_public_alone and not is_there(self.path):
            raise KeyFileMissing(path=self.path)
        if self.is_public_alone or is_there(self.public_path):
            return read_public(self.public_path)
        return read_private(self.path).public()


def _named(public: PublicHalf) -> str:
    return f"local:{public.mark.hex()}"


def _split(wrapped: bytes) -> tuple[bytes, bytes]:
    start = len(_WRAPPED_FORM) + MARK
    if not wrapped.startswith(_WRAPPED_FORM) or len(wrapped) < start:
        raise WrapBroken
    return wrapped[:start], wrapped[start:]


def _bound(head: bytes, context: Mapping[str, str]) -> bytes:
    # The head has a fixed length and the label is constant, so that no two bindings share an encoding.
    return _LABEL + head + json.dumps(dict(context), sort_keys=True, separators=(",", ":")).encode("ascii")
