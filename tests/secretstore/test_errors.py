"""Errors: their docstring is the message, and they survive the way between processes."""

import pickle
from string import Formatter

import pytest

from secretstore import errors
from secretstore.errors import SecretStoreError, SettingsProblem, UnknownProject

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, SecretStoreError) and kind is not SettingsProblem
]


def _made(kind: type[SecretStoreError]) -> SecretStoreError:
    said = f"{kind.__doc__ or ''} {kind.mend or ''}"
    fields = {field for _, field, _, _ in Formatter().parse(said) if field}
    return kind(**{field: f"<{field}>" for field in fields})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_is_its_docstring(kind: type[SecretStoreError]) -> None:
    """Message and hint can be made from the fields of the message, and are one line without a full stop."""
    error = _made(kind)
    assert str(error) == error.message
    for sentence in filter(None, (error.message, error.hint)):
        assert "{" not in sentence
        assert "\n" not in sentence
        assert not sentence.endswith(".")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_can_be_sent(kind: type[SecretStoreError]) -> None:
    """Pickled in one process and read in another, it is the same error with the same hint."""
    error = _made(kind)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.hint) == (kind, str(error), error.hint)


def test_a_better_hint_replaces_the_usual_one() -> None:
    """Who raises may know more, and what was given comes back as it was, braces and all."""
    error = UnknownProject(project="{shop}")
    assert (str(error), error.hint) == ('no project "{shop}"', "create it: sealrun project create {shop}")
    assert UnknownProject(project="shpo", hint='did you mean "shop"?').hint == 'did you mean "shop"?'


def test_settings_problems_are_listed() -> None:
    """Each problem has a line of its own, and the list travels too."""
    error = pickle.loads(pickle.dumps(SettingsProblem(["A is empty", "B is {odd}"])))
    assert error.problems == ["A is empty", "B is {odd}"]
    assert str(error) == "the settings cannot be used:\n  A is empty\n  B is {odd}"
