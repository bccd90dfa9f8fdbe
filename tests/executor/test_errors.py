"""The sentences of the executor: each can be said, with nothing left to fill in."""

import re

import pytest

from executor import errors
from executor.errors import ExecutorError
from executor.supervisor import errors as inner
from executor.supervisor.errors import SupervisorError


def kinds(module: object, root: type[Exception]) -> list[type[Exception]]:
    return [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, root)]


@pytest.mark.parametrize("kind", kinds(errors, ExecutorError) + kinds(inner, SupervisorError))
def test_every_error_is_a_sentence_with_a_way_out(kind: type[ExecutorError]) -> None:
    """Names fill every gap of sentence and hint; lower case, no full stop, quotes in pairs."""
    gaps = set(re.findall(r"\{(\w+)", f"{kind.__doc__} {kind.hint}"))
    error = kind(**dict.fromkeys(gaps, 7))
    for text in filter(None, (str(error), error.hint)):
        assert "{" not in text and "\n" not in text
        assert text == text.strip() and not text.endswith(".") and text.count('"') % 2 == 0
    assert str(error)
