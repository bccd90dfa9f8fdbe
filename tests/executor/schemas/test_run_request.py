"""Each option of a run is declared once: every door takes what is declared, and nothing beside it."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from executor.cli.lazy import load
from executor.errors import RequestUnclear
from executor.schemas.asking import asked
from executor.schemas.run_request import RunRequest, options
from executor.schemas.target import Target

ROOT = Path(__file__).parents[3]
ONLY_TYPED = {"no_secrets", "env_file", "arg", "json_arg"}
RUNS_OWN = {"output", "detach", "json", "yes"}


def parameters(command: Any) -> set[str]:
    return {parameter.name for parameter in command.params} - {"help"}


def test_run_takes_every_option() -> None:
    """Beside those of the command itself."""
    assert parameters(load("run")) == {*options(), *ONLY_TYPED, *RUNS_OWN}


def test_secret_explain_takes_what_changes_the_names_that_a_run_finds() -> None:
    """And no option that says how a run is carried out."""
    explained = {name for name, (typed, _) in options().items() if typed.explained}
    assert parameters(load("secret").commands["explain"]) == {*explained, *ONLY_TYPED, "json"}
    assert "timeout" not in explained and "secrets" in explained


def test_the_keyword_arguments_of_the_python_api_are_the_same() -> None:
    """The file that type checkers read is as scripts/run_keywords.py writes it."""
    script = runpy.run_path(str(ROOT / "scripts/run_keywords.py"))
    assert script["PLACE"].read_text() == script["text"](), "run scripts/run_keywords.py"


def test_an_option_is_one_that_is_typed() -> None:
    """What is not typed is what each door finds out itself."""
    assert RunRequest.model_fields.keys() - options().keys() == {
        "target", "text", "values", "positional", "folder", "search_path",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"timeout": "hunter2"}, "timeout is a number of seconds, and this is of the type str"),
        ({"retries": "hunter2"}, "retries is a whole number"),
        ({"python": 3.12}, "python is text, and this is of the type float"),
        ({"secrets": "hunter2"}, "secrets is a list of words, and this is one word: write secrets=[…]"),
        ({"network": "hunter2"}, "network is full or none"),
        ({"output_limit": 3}, "output_limit is end or drop"),
        ({"secrets": ["A", 3]}, "secrets[1] is not text"),
        ({"variables": ["A=hunter2"]}, "variables is a mapping of names to texts"),
        ({"variables": {"A": b"hunter2"}}, "in variables, A is not text"),
        ({"connections": "hunter2"}, "connections is True or False"),
        ({"memory": 2e9}, "memory is a whole number of bytes, or a text as '2G', and this is of the type float"),
        ({"disk": 2.0}, "disk is a whole number of bytes, or a text as '2G', and this is of the type float"),
        ({"pids": 100.0}, "pids is a whole number, or a text as '256', and this is of the type float"),
        ({"cpus": [2]}, "cpus is a number, or a text as '1.5', and this is of the type list"),
        ({"hunter": 2}, "there is no option hunter"),
    ],
)
def test_what_does_not_fit_is_told_without_its_value(given: dict[str, Any], words: str) -> None:
    """By name and type: a value in the wrong place may be a secret."""
    with pytest.raises(RequestUnclear) as refused:
        asked(RunRequest, target=Target("command", argv=("true",)), **given)
    assert words in refused.value.message
    assert "hunter2" not in str(refused.value) and refused.value.__cause__ is None
    with pytest.raises(ValidationError):
        RunRequest(target=Target("command", argv=("true",)), **given)
