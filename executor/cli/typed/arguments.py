"""What the options that `run` and `secret explain` share say."""

import json
from typing import Any

from executor.errors import Misuse
from executor.schemas.target import Target


def secrets_named(secret: list[str] | None, no_secrets: bool) -> list[str] | None:
    """What `--secret` and `--no-secrets` choose; None for all.

    Raises:
        Misuse: both are given.
    """
    if secret and no_secrets:
        raise _misuse("--secret and --no-secrets exclude each other")
    return [] if no_secrets else secret


def arguments_of(wanted: Target, text: list[str], as_json: list[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """The arguments of a function or notebook by name: those of `--arg` as text, those of `--json-arg` as values.

    Raises:
        Misuse: the target takes none, one is given twice, or is not JSON.
    """
    if (text or as_json) and wanted.kind not in ("function", "notebook"):
        raise _misuse("--arg and --json-arg are for functions and notebooks; other arguments follow TARGET")
    values = {}
    for name, value in pairs_of("--json-arg", as_json).items():
        try:
            values[name] = json.loads(value)
            json.dumps(values[name], allow_nan=False)  # Python reads NaN, and 1e999 as infinity; JSON has neither
        except (ValueError, RecursionError):
            raise _misuse("--json-arg {name} is not JSON", name=name) from None
    plain = pairs_of("--arg", text)
    if both := plain.keys() & values.keys():
        raise _misuse("the argument {name} is given twice", name=min(both))
    return plain, values


def pairs_of(option: str, pairs: list[str]) -> dict[str, str]:
    """The names and values of a repeated option, a later one over an earlier one.

    Raises:
        Misuse: one is no NAME=VALUE.
    """
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise _misuse("{option} takes NAME=VALUE", option=option)
        found[name] = value
    return found


def connections_of(option: str, pairs: list[str]) -> dict[str, str]:
    """The parameters of `--source` or `--catalog`, and the name that each was given.

    Raises:
        Misuse: one is no PARAM=NAME, or a parameter is given two names.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        parameter, _, name = pair.partition("=")
        if not (parameter and name):
            example = f"{option} data={'lake' if option == '--source' else 'main'}"
            raise _misuse(
                "{option} takes PARAM=NAME, as in {example}: a parameter of the function and a name",
                option=option,
                example=example,
            )
        if found.setdefault(parameter, name) != name:
            raise _misuse("{option} says twice what the parameter {parameter} is", option=option, parameter=parameter)
    return found


def _misuse(message: str, **names: str) -> Misuse:
    return Misuse(message, command="run", **names)
