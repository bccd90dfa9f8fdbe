"""Secrets in the place of the references in a connection's settings."""

import json
from collections.abc import Mapping
from typing import Any

from executor.environment.values import Unwritable, insist_on_text
from secretstore.run_connection import FIELD, KEY, OPTIONAL, Reference, is_reference


def filled(value: Any, place: str, secrets: Mapping[str, bytes], needles: dict[str, bytes]) -> Any:
    """A value of the settings with secrets in the place of references; None for an optional field that is not there.

    Args:
        value: of settings, at any depth.
        place: where it stands in them.
        secrets: name to value.
        needles: gets what took a reference's place, by its place.

    Raises:
        Unwritable: a secret is not there, or has not got the shape that it should have.
    """
    if is_reference(value):
        reference = Reference(place, value[KEY], value.get(FIELD), value.get(OPTIONAL, False))
        text = _referred(reference, secrets)
        if text is not None:
            needles[place] = text.encode()
        return text
    if isinstance(value, dict):
        return {name: filled(member, f"{place}.{name}", secrets, needles) for name, member in value.items()}
    if isinstance(value, list):
        return [filled(member, f"{place}[{number}]", secrets, needles) for number, member in enumerate(value)]
    if isinstance(value, str):
        insist_on_text(f"its {place}", value)
    return value


def _referred(reference: Reference, secrets: Mapping[str, bytes]) -> str | None:
    if not isinstance(reference.secret, str) or not isinstance(reference.field, str | None):
        raise Unwritable(f"its {reference.place} is no reference to a secret")
    where = f"{reference.place} is {reference.field} of" if reference.field is not None else f"{reference.place} is"
    where += f" secret {reference.secret}"
    raw = secrets.get(reference.secret)
    if raw is None:
        raise Unwritable(f"{where}, which this run has not got")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Unwritable(f"{where}, which is not UTF-8 text") from None
    if reference.field is not None:
        found = _field(where, text, reference)
        if found is None:
            return None
        text = found
    insist_on_text(f"{where}, which", text)
    return text


def _field(where: str, text: str, reference: Reference) -> str | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Unwritable(f"{where}, which is not a JSON object")
    value = document.get(reference.field)
    if value is None and reference.optional:
        return None
    if reference.field not in document:
        raise Unwritable(f"{where}, which has no such field")
    if not isinstance(value, str):
        raise Unwritable(f"{where}, which is not text there")
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, as an escape
        raise Unwritable(f"{where}, which is not text there") from None
    return value
