"""Ciphertexts and a wrapped key on their way from the database to the opener."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from secretstore.errors import SealBroken
from secretstore.key_service import KeyPlace


@dataclass(frozen=True)
class SealedItem:
    """One version of one secret, sealed."""

    secret_id: str
    name: str
    version: int
    sealed: bytes = field(repr=False)
    expires_at: datetime | None = None
    as_file: bool = False
    """Like `expires_at` for the receipt and the run; it does not travel to the opener."""


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

    @property
    def place(self) -> KeyPlace:
        """Where its key pair belongs."""
        return KeyPlace(self.project, self.project_id, self.environment, self.environment_id)

    def to_json(self) -> str:
        """Return the bundle as one line of JSON, bytes in base64."""
        return json.dumps(vars(self) | {"wrapped": _text(self.wrapped), "items": items_to_json(self.items)})

    @classmethod
    def from_json(cls, text: str | bytes) -> "SealedBundle":
        """Read what `to_json` wrote.

        Raises:
            SealBroken: a field is missing, surplus or of another type.
        """
        try:
            fields = json.loads(text)
            items = tuple(items_from_json(fields.pop("items")))
            return cls(**_checked(fields, _BUNDLE) | {"wrapped": _bytes(fields["wrapped"])}, items=items)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise SealBroken("the bundle of sealed values cannot be read") from None


def items_to_json(items: Iterable[SealedItem]) -> list[dict[str, Any]]:
    """Return items for JSON, bytes in base64."""
    return [{key: getattr(item, key) for key in _ITEM} | {"sealed": _text(item.sealed)} for item in items]


def items_from_json(entries: Any) -> list[SealedItem]:
    """Read what `items_to_json` wrote.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: a field is missing, surplus or of another type.
    """
    return [SealedItem(**_item(entry)) for entry in entries]


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
