"""What travels from the database to the opener: ciphertexts and a wrapped key, nothing that reads them."""

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Any

from secretstore.errors import BundleBroken


@dataclass(frozen=True)
class SealedItem:
    """One version of one secret, sealed."""

    secret_id: str
    name: str
    version: int
    sealed: bytes = field(repr=False)


@dataclass(frozen=True)
class SealedBundle:
    """Some secrets of one environment, with the wrapped private key that `secretstore.reveal` needs."""

    project: str
    project_id: str
    environment: str
    environment_id: str
    generation: int
    fingerprint: str
    key_service: str
    wrapped: bytes = field(repr=False)
    items: tuple[SealedItem, ...]

    def to_json(self) -> str:
        """Returns the bundle as one line of JSON, its bytes in base64."""
        items = [vars(item) | {"sealed": _text(item.sealed)} for item in self.items]
        return json.dumps(vars(self) | {"wrapped": _text(self.wrapped), "items": items})

    @classmethod
    def from_json(cls, text: str | bytes) -> "SealedBundle":
        """Reads what `to_json` wrote.

        Raises:
            BundleBroken: When a field is missing, surplus or of another type.
        """
        try:
            fields = json.loads(text)
            items = tuple(SealedItem(**_item(entry)) for entry in fields.pop("items"))
            return cls(**_checked(fields, _BUNDLE) | {"wrapped": _bytes(fields["wrapped"])}, items=items)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise BundleBroken from None


_ITEM = {"secret_id": str, "name": str, "version": int, "sealed": str}
_BUNDLE = {
    "project": str,
    "project_id": str,
    "environment": str,
    "environment_id": str,
    "generation": int,
    "fingerprint": str,
    "key_service": str,
    "wrapped": str,
}


def _item(entry: dict[str, Any]) -> dict[str, Any]:
    return _checked(entry, _ITEM) | {"sealed": _bytes(entry["sealed"])}


def _checked(fields: dict[str, Any], types: dict[str, type]) -> dict[str, Any]:
    if fields.keys() != types.keys() or any(type(fields[name]) is not kind for name, kind in types.items()):
        raise ValueError
    return fields


def _text(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")


def _bytes(text: str) -> bytes:
    return b64decode(text, validate=True)
