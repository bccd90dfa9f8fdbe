"""A notebook's parameters, and a Python that cannot execute one. The rest: tests/system/test_notebooks.py."""

import atexit
import datetime
import json
import os
from pathlib import Path
from typing import Any

import pytest

from executor.inside.notebook import SOCKET_LIMIT, arguments, exit_of, short, typed_as, with_parameters
from tests.executor.run_process import Execute

DEFAULTS = """
alpha = 0.5
count = 3
deep: bool = None
day: datetime.date = None
many: int
name = other = "x"
left, right = 1, 2
nothing = None
"""


def test_a_folder_too_deep_for_a_socket_stays_where_it_is(tmp_path: Path) -> None:
    """I3: the way to it is short, and whoever finds that comes no further than by the long one."""
    assert short("/tmp/run") == "/tmp/run"
    deep = tmp_path / ("d" * SOCKET_LIMIT)
    deep.mkdir(mode=0o700)
    link = Path(short(str(deep)))
    try:
        assert len(str(link)) < SOCKET_LIMIT and link.is_symlink() and link.resolve() == deep
    finally:
        link.unlink()
        atexit.unregister(os.unlink)


def code(source: str | list[str], *tags: str) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": source, "outputs": []}


def convert(name: str, text: str, annotation: Any) -> tuple[str, str]:
    """What `entry` would turn a text into."""
    return (annotation if isinstance(annotation, str) else annotation.__name__), text


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("alpha", "0.25", ("float", "0.25")),
        ("alpha", "1", ("float", "1")),
        ("count", "7", ("int", "7")),
        ("count", "7.5", ("float", "7.5")),
        ("deep", "yes", ("bool", "yes")),
        ("day", "2024-01-05", ("datetime.date", "2024-01-05")),
        ("many", "4", ("int", "4")),
        ("name", "5", "5"),
        ("nothing", "5", "5"),
        ("unheard", "5", "5"),
    ],
)
def test_text_becomes_what_the_cell_of_parameters_has(name: str, text: str, expected: Any) -> None:
    """An annotation decides, else the number or bool that it is set to; anything else stays text."""
    cells = [code("import os"), code(DEFAULTS.splitlines(keepends=True), "parameters")]
    assert arguments(cells, {"text": {name: text}, "json": {}}, convert) == {name: expected}
    assert arguments(cells, {"text": {}, "json": {name: [1]}}, convert) == {name: [1]}
    assert typed_as(name, text, (None, None), convert) == text


def test_a_cell_sets_them_behind_that_of_parameters() -> None:
    """As papermill has it; one that is there from the last time makes way, and without either it is the first."""
    given = {"alpha": 0.25, "day": datetime.date(2024, 1, 5), "rows": [None, True, "it's"]}
    first, defaults, last = code("a"), code(DEFAULTS, "parameters"), code("b")
    cells, unknown = with_parameters([first, defaults, last], given)
    assert [cell["source"] for cell in (cells[0], cells[1], cells[3])] == ["a", DEFAULTS, "b"]
    assert cells[2]["metadata"]["tags"] == ["injected-parameters"] and "id" not in cells[2]
    found: dict[str, Any] = {}
    exec(cells[2]["source"], found)
    assert {name: found[name] for name in given} == given
    assert unknown == ["rows"]
    again, _ = with_parameters(cells, {"alpha": 1})
    assert [cell["source"] for cell in again] == ["a", DEFAULTS, "# Parameters\nalpha = 1", "b"]
    alone, unknown = with_parameters([{**first, "id": "x"}], {"alpha": 1})
    assert [cell["source"] for cell in alone] == ["# Parameters\nalpha = 1", "a"]
    assert alone[0]["id"] and unknown == []
    assert with_parameters([first], {}) == ([first], [])


def test_a_cell_of_parameters_that_is_not_plain_python() -> None:
    """A magic in it hides what it sets: text stays text, and nothing is said to be unknown."""
    cells = [code("%matplotlib inline\nalpha = 1", "parameters")]
    assert arguments(cells, {"text": {"alpha": "2"}}, convert) == {"alpha": "2"}
    assert with_parameters(cells, {"beta": 2})[1] == []


@pytest.mark.parametrize(
    ("value", "code"),
    [("", None), ("None", None), ("0", None), ("3", 3), ("-1", -1), ("no such table", "no such table")],
)
def test_an_exit_in_a_cell_is_that_of_the_run(value: str, code: int | str | None) -> None:
    """As in a file."""
    found = exit_of(value)
    assert (found and found.code) == code


def test_a_python_that_cannot_execute_it_is_told(execute: Execute, tmp_path: Path, any_python: str) -> None:
    """With its path, what it lacks, and the options that bring that."""
    (tmp_path / "report.ipynb").write_text(
        json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []})
    )
    ended = execute({"kind": "notebook", "path": "report.ipynb", "text": {}, "json": {}}, any_python)
    assert ended.code == 1 and "Traceback" not in ended.stderr
    assert f"this run's Python, {any_python}, has no " in ended.stderr
    assert "--with nbclient --with ipykernel" in ended.stderr
