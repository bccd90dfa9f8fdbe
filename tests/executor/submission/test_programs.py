"""Where a command's program is, as the submitter's shell would find it."""

import os
from pathlib import Path

import pytest

from executor.submission.programs import programs_of


def program(path: Path, text: str = "\x7fELF", mode: int = 0o755) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_name_is_looked_for_on_the_submitters_path(tmp_path: Path) -> None:
    """In order, what may be executed; nothing is told of what every run finds by itself, or nobody finds."""
    program(tmp_path / "a/dbt", mode=0o644)
    (tmp_path / "b/dbt").mkdir(parents=True)
    found = program(tmp_path / "c/dbt")
    program(tmp_path / "d/dbt")
    search_path = os.pathsep.join(["", *(str(tmp_path / name) for name in "abcd"), "/usr/bin"])
    assert programs_of(("dbt", "run"), tmp_path / "root", search_path) == [found]
    for name in ("sh", "python", "python3", "surely-not-there", ""):
        assert programs_of((name,), tmp_path / "root", search_path) == []
    program(tmp_path / "c/sh")
    assert programs_of(("sh",), tmp_path / "root", search_path) == [str(tmp_path / "c/sh")]


def test_a_path_out_of_the_source_root_is_told_as_it_is(tmp_path: Path) -> None:
    """A relative one is told from there; what is within the root needs nothing."""
    root = tmp_path / "root"
    program(root / "bin/tool")
    outside = program(tmp_path / "venv/bin/tool")
    for typed in (outside, "../venv/bin/tool"):
        assert programs_of((typed,), root, "") == [outside]
    for typed in ("./bin/tool", str(root / "bin/tool"), "../venv/bin/gone", "/"):
        assert programs_of((typed,), root, "") == []


def test_what_a_tools_first_line_looks_up_is_told_beside_it(tmp_path: Path) -> None:
    """As npm's: `env node`, which may be nvm's."""
    node = program(tmp_path / "nvm/bin/node")
    tool = program(tmp_path / "npm/bin/tsc", "#!/usr/bin/env -S node --stack-size=9\n")
    search_path = f"{tmp_path}/npm/bin:{tmp_path}/nvm/bin"
    assert programs_of(("tsc",), tmp_path / "root", search_path) == [tool, node]


def test_a_shims_owner_says_what_is_meant(tmp_path: Path) -> None:
    """pyenv's, rbenv's and nodenv's; where no version of it is chosen, what comes later on PATH is taken."""
    real = program(tmp_path / "pyenv/versions/3.12/bin/dbt")
    owner = tmp_path / "pyenv/libexec/pyenv"
    program(owner, f'#!/bin/sh\n[ "$2" = dbt ] && echo {real}\n')
    shim = f'#!/usr/bin/env bash\nset -e\nexport PYENV_ROOT="x"\nexec "{owner}" exec "$program" "$@"\n'
    for name in ("dbt", "gone"):
        program(tmp_path / f"pyenv/shims/{name}", shim)
    search_path = f"{tmp_path}/pyenv/shims:{tmp_path}/later"
    assert programs_of(("dbt",), tmp_path / "root", search_path) == [real]
    assert programs_of(("gone",), tmp_path / "root", search_path) == []
    later = program(tmp_path / "later/gone")
    assert programs_of(("gone",), tmp_path / "root", search_path) == [later]


@pytest.mark.parametrize("text", ["#!", "#!/usr/bin/env", "#!/usr/bin/env -S A=1\n", "#!/usr/bin/env python3\n"])
def test_a_first_line_that_looks_up_nothing_tells_nothing_more(tmp_path: Path, text: str) -> None:
    """`python3` is the run's own."""
    tool = program(tmp_path / "bin/tool", text)
    assert programs_of(("tool",), tmp_path / "root", f"{tmp_path}/bin:/usr/bin") == [tool]
