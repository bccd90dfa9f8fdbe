"""Notebooks as their authors run them: through the command line, in an environment that is built of PyPI's packages."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.executor.cli.conftest import Cli, made
from tests.processes import eventually

# An environment of fifty packages is fetched and built.
pytestmark = [pytest.mark.ecosystem, pytest.mark.timeout(900)]

KEY = 'p&ss<w>0rd"x-1234'
PEM = "-----BEGIN KEY-----\nabcdefgh12345678\nijklmnop87654321\n-----END KEY-----"
NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "UV_DEFAULT_INDEX")


def code(source: str, *tags: str) -> dict[str, Any]:
    return {"cell_type": "code", "execution_count": None, "metadata": {"tags": tags}, "outputs": [], "source": source}


def words(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A project with two secrets, in a folder of notebooks that were written with a kernel of another machine."""
    with made(**{name: os.environ[name] for name in NETWORK if name in os.environ}) as cli:
        cli.ok("project", "create", "shop")
        cli.ok("variable", "set", "UV_SYSTEM_CERTS", "true", "-p", "shop", "--yes")
        cli("secret", "set", "API_KEY", "-p", "shop", stdin=KEY, code=0)
        cli("secret", "set", "PEM", "-p", "shop", stdin=PEM, code=0)
        cli.environ["SEALRUN_PROJECT"] = "shop"
        (cli.jobs / ".sealrun.toml").touch()
        book(cli, "first.ipynb", code("1"))
        cli.ok("run", "--detach", "first.ipynb")
        eventually(lambda: state(cli) not in ("pending", "running"), 600, "the environment is built")
        assert state(cli) == "succeeded"
        yield cli


def state(at: Cli) -> str:
    return str(at.json("runs", "show", "@last", "--json")["state"])


def book(at: Cli, name: str, *cells: dict[str, Any]) -> None:
    """Write a notebook."""
    spec = {"name": "venv-of-ada", "display_name": "Ada's", "language": "python"}
    document = {"nbformat": 4, "nbformat_minor": 4, "metadata": {"kernelspec": spec}, "cells": cells}
    at.job(name, json.dumps(document))


def outputs(folder: Path, name: str) -> list[Any]:
    return [cell["outputs"] for cell in json.loads((folder / name).read_text())["cells"] if cell["cell_type"] == "code"]


def test_a_report_with_parameters(books: Cli, tmp_path: Path) -> None:
    """I5: what it prints is shown; the notebook and its page are among the outputs; there is no secret in any of it."""
    book(
        books,
        "reports/report.ipynb",
        words("# Sales"),
        code("share = 0.5\nname = 'x'", "parameters"),
        code("import os, sys\nprint('share', share, name)\nprint(os.environ['PEM'])\nprint('note', file=sys.stderr)"),
        code("from IPython.display import HTML\nHTML('<b>' + str(os.path.exists('report.ipynb')) + '</b>')"),
        code("{'key': os.environ['API_KEY']}"),
    )
    options = ("--arg", "share=0.25", "--json-arg", 'name="y"', "--output", str(tmp_path))

    told = books("run", *options, "reports/report.ipynb", code=0)

    assert "share 0.25 y\n***\n" in told.stdout and "{'key': '***'}" in told.stdout
    assert "note\n" in told.stderr and "masked report.html: " in told.stderr
    assert sorted(os.listdir(tmp_path)) == ["report.html", "report.ipynb"]
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.ipynb").read_text()
    for secret in ("p&ss", "p&amp;ss", "abcdefgh", "ijklmnop"):
        assert secret not in page and secret not in text
    assert "Sales" in page and "<b>True</b>" in page and "***" in page
    stream = outputs(tmp_path, "report.ipynb")[2][0]
    assert (stream["name"], stream["text"]) == ("stdout", "share 0.25 y\n***\n")
    assert outputs(tmp_path, "report.ipynb")[3][0]["data"]["text/html"] == "<b>True</b>"


def test_a_cell_that_fails_is_the_problem(books: Cli, tmp_path: Path) -> None:
    """With its number and its traceback; what was executed until then is there to be read."""
    book(books, "fails.ipynb", words("# A"), code("import os"), code("{}[os.environ['API_KEY']]"), code("'never'"))

    told = books("run", "--output", str(tmp_path), "fails.ipynb", code=1)

    assert "failed: fails.ipynb raised KeyError" in told.stderr
    problem = books.json("runs", "show", "@last", "--json")["problem"]
    assert problem["type"] == "KeyError" and problem["message"].endswith("(in cell 3)")
    assert problem["traceback"].startswith("fails.ipynb, cell 3, In [2]:\n") and "{}[os" in problem["traceback"]
    assert "p&ss" not in problem["traceback"] + problem["message"] + told.stderr
    assert [len(found) for found in outputs(tmp_path, "fails.ipynb")] == [0, 1, 0]
    assert "KeyError" in (tmp_path / "fails.html").read_text()


@pytest.mark.parametrize(
    ("last", "ended", "sentence"),
    [
        ("import sys; sys.exit(3)", 3, "ended with exit code 3"),
        ("raise SystemExit", 0, ""),
        ("import os; os.kill(os.getpid(), 9)", 137, "was ended by signal 9"),
    ],
)
def test_other_ends(books: Cli, last: str, ended: int, sentence: str) -> None:
    """An exit in a cell is that of the run, and so is what kills the kernel."""
    book(books, "ends.ipynb", code("print('begun')"), code(last), code("print('never')"))
    told = books("run", "ends.ipynb", code=ended)
    assert told.stdout == "begun\n" and sentence in told.stderr


def test_one_that_runs_out_of_time_keeps_what_it_has(books: Cli, tmp_path: Path) -> None:
    """The notebook is given as far as it came."""
    book(books, "slow.ipynb", code("print('begun')"), code("import time; time.sleep(600)"))
    books("run", "--timeout", "20", "--output", str(tmp_path), "slow.ipynb", code=124)
    assert outputs(tmp_path, "slow.ipynb")[0][0]["text"] == "begun\n"


def test_uploaded_beside_a_package_of_its_own(books: Cli) -> None:
    """It imports the project's code below `src`, and a module that lies beside it."""
    books.job(
        "etl/pyproject.toml", '[project]\nname = "etl"\nversion = "1.5"\n[build-system]\nrequires = ["hatchling"]\n'
    )
    books.job("etl/src/etl/__init__.py", "from importlib.metadata import version\n__version__ = version(__name__)\n")
    books.job("etl/books/beside.py", "word = 'beside'\n")
    book(books, "etl/books/report.ipynb", code("import etl, beside\nprint(etl.__version__, beside.word)"))
    for option in ("--bundle", "--no-bundle"):
        told = books("run", option, "books/report.ipynb", cwd=books.jobs / "etl", code=0)
        assert told.stdout == "1.5 beside\n"
