"""Replace the references in a connection's settings with secrets."""

import json
from collections.abc import Mapping
from typing import Any

from executor.environment.values import Unusable, check_text
from secretstore.run_connection import FIELD, KEY, OPTIONAL, Reference, is_reference


def filled(value: Any, place: str, secrets: Mapping[str, bytes], needles: dict[str, bytes]) -> Any:
    """Replace the references in a setting with secrets; an optional field that is missing becomes None.

    Args:
        value: the setting, at any depth.
        place: its path in the settings.
        secrets: name to value.
        needles: receives what replaced a reference, by place.

    Raises:
        Unusable: a secret is missing, or does not have the expected form.
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
        check_text(f"its {place}", value)
    return value


def _referred(reference: Reference, secrets: Mapping[str, bytes]) -> str | None:
    if not isinstance(reference.secret, str) or not isinstance(reference.field, str | None):
        raise Unusable(f"its {reference.place} is not a reference to a secret")
    field = "" if reference.field is None else f"{reference.field} of "
    where = f"{reference.place} is {field}secret {reference.secret}"
    raw = secrets.get(reference.secret)
    if raw is None:
        raise Unusable(f"{where}, which this run does not have")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Unusable(f"{where}, which is not UTF-8 text") from None
    if reference.field is not None:
        found = _field(where, text, reference)
        if found is None:
            return None
        text = found
    check_text(f"{where}, which", text)
    return text


def _field(where: str, text: str, reference: Reference) -> str | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Unusable(f"{where}, which is not a JSON object")
    value = document.get(reference.field)
    if value is None and reference.optional:
        return None
    if reference.field not in document:
        raise Unusable(f"{where}, which has no such field")
    if not isinstance(value, str):
        raise Unusable(f"{where}, and that field is not text")
    try:
        value.encode()
    except UnicodeEncodeError:  # an escape that is half of a surrogate pair
        raise Unusable(f"{where}, and that field is not text") from None
    return value
