"""Start the one-shot hardened process that makes a key pair, or wraps one anew, and read its answer."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from executor.errors import KeyOperationFailed
from executor.keys.access import key_access
from executor.settings import Settings
from secretstore.errors import of_key_service
from secretstore.key_service import KeyPlace, WrappedKeyPair
from secretstore.pin import Pin
from secretstore.pins import Pins
from secretstore.vault import Birth, PlacedKey

Made = TypeVar("Made")

_CODE = "import sys; sys.path[:0] = [sys.argv[1]]; from executor.supervisor.{} import main; sys.exit(main())"
_CREATION, _REWRAPPING = _CODE.format("key_creation"), _CODE.format("key_rewrapping")
_PATIENCE = 90.0  # seconds; a call of AWS KMS may take 60
_AT_ONCE = 20  # keys wrapped anew by one process
_AWAY = "kms_unavailable"  # the next key would wait as long in vain; other reasons concern only this key
_NOT_CREATED = "could not create a key pair: {why}"
_NOT_REWRAPPED = "could not rewrap every private key: {why}"


def birth(settings: Settings) -> Birth:
    """Return a function that makes key pairs under these settings' key service."""

    def new_key_pair(place: KeyPlace, generation: int) -> WrappedKeyPair:
        request = {"place": asdict(place), "generation": generation}
        return WrappedKeyPair.from_json(_answer(_CREATION, settings, request, _NOT_CREATED))

    return new_key_pair


def with_new_key(settings: Settings, pins: Pins, project: str, environment: str, make: Callable[[Birth], Made]) -> Made:
    """Make an environment with its first key pair, and remember the pair for this user.

    The pair is remembered as the process that made it reported it, not as the database says.

    Args:
        settings: where the key service is.
        pins: where to remember it.
        make: makes the environment in the database; it calls the function it is given for the key pair.
    """
    new: list[Pin] = []

    def new_pair(place: KeyPlace, generation: int) -> WrappedKeyPair:
        pair = birth(settings)(place, generation)
        new.append(Pin(place.project_id, place.environment_id, pair.generation, pair.fingerprint))
        return pair

    made = make(new_pair)
    pins.remember(project, environment, new[-1])
    return made


def rewrapped(settings: Settings, keys: Sequence[PlacedKey]) -> Iterator[tuple[PlacedKey, WrappedKeyPair]]:
    """Yield the key pairs that the first key service has not wrapped, rewrapped by it, each as it is done.

    Raises:
        KeyOperationFailed: one could not be rewrapped; those that could come first.
    """
    failed: KeyOperationFailed | None = None
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        asked = [{"place": asdict(key.place), "pair": key.pair.to_json()} for key in some]
        answers = _answer(_REWRAPPING, settings, {"keys": asked}, _NOT_REWRAPPED)["keys"]
        for key, answer in zip(some, answers, strict=True):
            if answer is not None and "error" in answer:
                which = f"{key.place.project}/{key.place.environment}, generation {key.pair.generation}: "
                failed = failed or _failure(_NOT_REWRAPPED, answer, which)
            elif answer is not None:
                yield key, WrappedKeyPair.from_json(answer)
        # Go on with the other keys, unless they would fail the same way.
        if failed is not None and any(answer and answer.get("error") == _AWAY for answer in answers):
            break
    if failed is not None:
        raise failed


def _answer(code: str, settings: Settings, request: dict[str, Any], failure: str) -> dict[str, Any]:
    """Return the answer of a process of its own, which gets its request on stdin and an empty environment."""
    patience = _PATIENCE * max(1, 2 * len(request.get("keys", ())))
    try:
        ended = subprocess.run(
            [sys.executable, "-I", "-c", code, str(Path(__file__).resolve().parents[2])],
            input=json.dumps({"access": key_access(settings).to_json(), **request}),
            text=True,
            capture_output=True,
            env={},
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise KeyOperationFailed(failure, why=f"its process did not end within {patience:g} seconds") from None
    try:
        answer: dict[str, Any] = json.loads(ended.stdout)
    except ValueError:
        raise KeyOperationFailed(failure, why=f"its process ended with status {ended.returncode}") from None
    if "error" in answer:
        raise _failure(failure, answer)
    return answer


def _failure(message: str, answer: dict[str, Any], which: str = "") -> KeyOperationFailed:
    code = answer["error"]
    unopened = code if of_key_service(code) else None
    return KeyOperationFailed(message, why=which + answer["message"], hint=answer["hint"], unopened=unopened)
