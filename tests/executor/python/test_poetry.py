"""Poetry's own table of dependencies, as it was before `[project]`: installed as anything else is."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from executor.errors import RequirementsRefused
from executor.python import poetry, requirements

HEAD = '[tool.poetry]\nname = "old-job"\nversion = "1"\n[tool.poetry.dependencies]\n'


def of(lines: str) -> Any:
    return poetry.dependencies(tomllib.loads(HEAD + lines))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('"^1.2.3"', "<2,>=1.2.3"),
        ('"^0.2.3"', "<0.3,>=0.2.3"),
        ('"^0.0.3"', "<0.0.4,>=0.0.3"),
        ('"^0.0"', "<0.1,>=0.0"),
        ('"^0"', "<1,>=0"),
        ('"^1"', "<2,>=1"),
        ('"~1.2.3"', "<1.3,>=1.2.3"),
        ('"~1.2"', "<1.3,>=1.2"),
        ('"~1"', "<2,>=1"),
        ('"~=1.4.2"', "~=1.4.2"),
        ('"1.2.3"', "==1.2.3"),
        ('"1.2.*"', "==1.2.*"),
        ('"*"', ""),
        ('">=1.2,<2"', "<2,>=1.2"),
        ('">=1.2 <2"', "<2,>=1.2"),
        ('">= 1.2, != 1.5"', "!=1.5,>=1.2"),
        ('"^2.0b1"', "<3,>=2.0b1"),
        ('{ version = "^1.2", extras = ["fast", "s3"] }', None),
    ],
)
def test_a_range_is_that_of_poetrys_manual(written: str, read: str | None) -> None:
    """Its page on dependency specification has most of these."""
    (lines, requires) = of(f"lib = {written}\n")
    assert lines == ["lib[fast,s3]<2,>=1.2" if read is None else f"lib{read}"] and requires is None


def test_python_markers_and_what_is_optional() -> None:
    """What holds for one Python or platform alone is a marker; an extra's package is not installed."""
    lines, requires = of(
        'python = "^3.9"\n'
        'a = { version = "*", python = "<3.11" }\n'
        'b = [{ version = "1.0", markers = "extra == \'x\'" }, { version = "2.0", platform = "linux" }]\n'
        'c = { version = "1", optional = true }\n'
    )
    assert requires == "<4,>=3.9"
    assert lines == [
        'a ; python_full_version < "3.11"',
        "b==1.0 ; (extra == 'x')",
        'b==2.0 ; sys_platform == "linux"',
    ]


@pytest.mark.parametrize("written", ['"^1 || ^2"', '"one"', '{ git = "https://x/y.git" }', '{ path = "../x" }', "3"])
def test_what_no_installer_can_be_told_is_refused_by_name(written: str) -> None:
    """With what to do about it."""
    with pytest.raises(RequirementsRefused, match="lib cannot be installed from here") as refused:
        of(f"lib = {written}\n")
    assert "poetry export" in str(refused.value.hint)


def test_a_source_root_of_poetrys_has_its_packages(tmp_path: Path) -> None:
    """Where nothing else lists them: `[project]` and requirements.txt come first."""
    (tmp_path / "pyproject.toml").write_text(HEAD + 'python = ">=3.9"\nhumanize = "^4.9"\n')
    found = requirements.of_source(tmp_path, None)
    assert found is not None and (found["with"], found["requires_python"]) == (["humanize<5,>=4.9"], ">=3.9")
    (tmp_path / "requirements.txt").write_text("iniconfig\n")
    assert (requirements.of_source(tmp_path, None) or {})["entry"] == "requirements.txt"
