"""A notebook as it is submitted: which Python executes it, and what is refused before there is a run."""

import json
from pathlib import Path
from typing import Any

import pytest

from executor.errors import RequestUnclear, RequirementsRefused, TargetUnusable
from executor.python import requirements
from executor.schemas.run_request import RunRequest
from executor.submission.called import arguments_of, target_of
from executor.submission.notebook import PACKAGES, refusals
from executor.submission.specification import specify
from executor.submission.target import Target, parse
from tests.executor.source.test_ignoring import write
from tests.executor.submission.test_specification import Place, place
from tests.rig import job_python

__all__ = ["place"]
BOOK = json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []})


def request(at: Place, **asked: Any) -> RunRequest:
    write(at.jobs, "report.ipynb", BOOK)
    return at.request(**asked).model_copy(update={"target": Target("notebook", path="report.ipynb")})


def environment(at: Place, *packages: str) -> None:
    """A `.venv` with these."""
    (at.jobs / ".venv/bin").mkdir(parents=True)
    (at.jobs / ".venv/bin/python").symlink_to(job_python())
    write(at.jobs, ".venv/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    for name in packages:
        write(at.jobs, f".venv/lib/python3.12/site-packages/{name}/__init__.py", "")


def test_it_is_a_target_with_parameters() -> None:
    """On the command line and in Python; it has no words of its own, and its parameters have names."""
    assert parse(["a/report.ipynb"]) == Target("notebook", path="a/report.ipynb")
    with pytest.raises(RequestUnclear, match=r"--arg NAME=TEXT report\.ipynb"):
        parse(["report.ipynb", "3"])
    wanted = target_of("report.ipynb", None, None, ())
    assert arguments_of(wanted, {"n": 1}) == ({"n": 1}, [])
    with pytest.raises(RequestUnclear, match="have names"):
        arguments_of(wanted, [1])
    with pytest.raises(RequestUnclear, match="a notebook takes args"):
        target_of("report.ipynb", None, None, ["x"])


def test_a_python_without_what_it_takes_is_given_it(place: Place) -> None:
    """In an environment that is built for the run: from nothing, or beside what is asked for."""
    spec = specify(place.db, place.settings(), request(place)).spec
    assert spec.python is None and spec.requirements is not None and spec.requirements["with"] == [*PACKAGES]
    spec = specify(place.db, place.settings(), request(place, bundle=True)).spec
    assert spec.requirements is not None and spec.requirements["with"] == [*PACKAGES]
    spec = specify(place.db, place.settings(), request(place, packages=["pandas"])).spec
    assert spec.requirements is not None and spec.requirements["with"] == ["pandas", *PACKAGES]
    hashed = f"six==1.17.0 --hash=sha256:{'0' * 64}\n"
    write(place.jobs, "requirements.txt", hashed)
    spec = specify(place.db, place.settings(), request(place)).spec
    assert spec.requirements is not None and spec.requirements["with"] == []


def test_an_environment_that_has_it_is_used_and_one_that_lacks_it_refused(place: Place) -> None:
    """The folder's `.venv` is never passed over silently; the refusal names what to install, or the option."""
    environment(place, "ipykernel")
    for asked in ({}, {"python": ".venv"}):
        with pytest.raises(RequirementsRefused, match=r"\.venv/bin/python has no nbclient") as refused:
            specify(place.db, place.settings(), request(place, **{**asked, **_at(place, asked)}))
        assert "--with nbclient" in (refused.value.hint or "")
    write(place.jobs, ".venv/lib/python3.12/site-packages/nbclient/__init__.py", "")
    assert specify(place.db, place.settings(), request(place)).spec.python == str(place.jobs / ".venv/bin/python")


def _at(place: Place, asked: dict[str, str]) -> dict[str, str]:
    return {name: str(place.jobs / path) for name, path in asked.items()}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("not JSON", "is not a notebook"),
        ("[1]", "is not a notebook"),
        ('{"cells": []}', "is not a notebook"),
        ("\x00", "is not a notebook"),
        ('{"nbformat": 4, "metadata": {"kernelspec": {"language": "R"}}}', "a notebook of R"),
        ('{"nbformat": 4, "metadata": 3}', None),
        ('{"nbformat": 4, "metadata": {"kernelspec": {"name": "of-another-machine"}}}', None),
    ],
)
def test_what_is_no_notebook_of_python(tmp_path: Path, text: str, sentence: str | None) -> None:
    """Refused before there is a run; which kernel it was written with does not matter."""
    write(tmp_path, "report.ipynb", text)
    found = list(refusals(tmp_path, {"kind": "notebook", "path": "report.ipynb"}))
    assert all(isinstance(one, TargetUnusable) for one in found)
    assert [sentence in str(one) for one in found if sentence] == ([True] if sentence else [])
    assert bool(found) == bool(sentence)


def test_a_block_in_its_cells_says_what_is_installed(tmp_path: Path) -> None:
    """PEP 723, as `juv` writes it; markdown does not count."""
    block = ["# /// script\n", '# dependencies = ["pandas"]\n', "# ///"]
    cells = [{"cell_type": "markdown", "source": block}, {"cell_type": "code", "source": block}]
    write(tmp_path, "report.ipynb", json.dumps({"nbformat": 4, "cells": cells}))
    found = requirements.of_script(tmp_path / "report.ipynb")
    assert found is not None and 'dependencies = ["pandas"]' in found["files"]["pyproject.toml"]
    write(tmp_path, "report.ipynb", '{"cells": 3}')
    assert requirements.of_script(tmp_path / "report.ipynb") is None
