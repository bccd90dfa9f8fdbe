"""Every error of both packages: one class for each thing that a caller can do differently."""

import ast
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import executor.errors  # noqa: F401  # so that its classes are walked, too
from secretstore.errors import SealrunError, SettingsProblem

CHECKOUT = Path(__file__).resolve().parents[2]
EXIT_CODES = {1, 2, 124, 125, 130, 137}  # docs/reference/errors.md has the table
VALUES = {"value", "values", "secret", "plaintext", "password", "token", "body", "content", "data"}


def _kinds(root: type[SealrunError] = SealrunError) -> Iterator[type[SealrunError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _kinds(kind)


KINDS = [kind for kind in _kinds() if not kind.__module__.startswith("tests.")]
NAMES = sorted(kind.__name__ for kind in KINDS)


def _gaps(*templates: str | None) -> set[str]:
    return {field for text in templates if text for _, field, _, _ in Formatter().parse(text) if field}


def _made(kind: type[SealrunError]) -> SealrunError:
    if kind is SettingsProblem:
        return SettingsProblem(["A is empty", "B is {odd}"])
    return kind(**dict.fromkeys(_gaps(kind.__doc__, kind.hint), 7))


def test_there_are_as_many_as_callers_need() -> None:
    """All are in the two modules, under names of their own; a new one has to say what its caller can do."""
    assert {kind.__module__ for kind in KINDS} == {"secretstore.errors", "executor.errors"}
    assert len(set(NAMES)) == len(NAMES) < 130


def test_codes_are_unique() -> None:
    """A program tells errors apart by them."""
    codes = [kind.code for kind in KINDS]
    assert sorted(set(codes)) == sorted(codes)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
class TestEveryError:
    def test_has_what_a_door_translates(self, kind: type[SealrunError]) -> None:
        """A code of its own, an HTTP status of an error, and an exit code of the table."""
        assert re.fullmatch(r"[a-z][a-z0-9_]+", vars(kind)["code"])
        assert 400 <= kind.status <= 599
        assert kind.exit_code in EXIT_CODES

    def test_is_a_sentence_with_a_way_out(self, kind: type[SealrunError]) -> None:
        """Names fill every gap of message and hint; one line, no full stop, quotes in pairs."""
        assert kind.__doc__ is not None and "__doc__" in vars(kind)
        error = _made(kind)
        assert str(error) == error.message
        lines = error.message.partition("\n")[0] if kind is SettingsProblem else error.message
        for sentence in filter(None, (lines, error.hint)):
            assert "{" not in sentence and "\n" not in sentence
            assert sentence == sentence.strip() and not sentence.endswith(".") and sentence.count('"') % 2 == 0

    def test_can_be_sent(self, kind: type[SealrunError]) -> None:
        """I10: pickled in one process and read in another, it is the same error, and no more."""
        error = _made(kind)
        error.exit_code = 125
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), copy.args) == (kind, str(error), error.args)
        assert vars(copy) == vars(error)

    def test_names_no_value(self, kind: type[SealrunError]) -> None:
        """Keys and ids only."""
        assert not _gaps(kind.__doc__, kind.hint) & VALUES


def _raisers() -> Iterator[tuple[str, ast.Call]]:
    """Every place where one is made: file and line, and the call."""
    for package in ("executor", "secretstore"):
        for path in sorted((CHECKOUT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES:
                    yield f"{path.relative_to(CHECKOUT)}:{node.lineno}", node


def test_raisers_give_templates_with_all_their_names() -> None:
    """A message that is put together before would be filled in twice, and a brace in it would break the error."""
    found = 0
    for place, call in _raisers():
        assert isinstance(call.func, ast.Name)
        found += 1
        if call.func.id == "SettingsProblem" or not call.args:
            continue
        (message,) = call.args
        assert not isinstance(message, ast.JoinedStr), f"{place}: a template, not an f-string"
        given = {one.arg for one in call.keywords}
        if isinstance(message, ast.Constant) and None not in given:
            assert _gaps(message.value) <= given, f"{place}: {_gaps(message.value) - given}"
            assert not message.value.rstrip().endswith("."), place
    assert found > 150


def test_raisers_give_no_value() -> None:
    """Not under a name that says so, and no hint with a gap that nobody fills."""
    for place, call in _raisers():
        given = {one.arg: one.value for one in call.keywords}
        assert not given.keys() & VALUES, place
        if isinstance(hint := given.get("hint"), ast.Constant) and isinstance(hint.value, str):
            assert not any(f"{{{name}}}" in hint.value for name in given), f"{place}: a hint is taken as it is"


def test_what_sees_plaintext_can_import_them() -> None:
    """Both modules take the standard library and no more of ours than each other."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import executor.errors;"
        "print(*sorted(n for n in sys.modules if n.partition('.')[0] not in {*sys.stdlib_module_names, '__main__'}))"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(CHECKOUT)], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["executor", "executor.errors", "secretstore", "secretstore.errors"]
