"""What of a command's program a worker opens to a run, whatever the run's row says of it."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.errors import ProgramRefused
from executor.sandbox import folders as open_folders
from executor.settings import read_settings
from executor.worker.programs import Program, Reach, only_its_user_submits, program_of
from tests.executor.conftest import ROOT, OrdinaryUser

EVERYTHING = Reach((), True, ())


def program(path: Path, text: str = "\x7fELF", mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def environment(prefix: Path, *tools: str) -> Path:
    """A virtual environment whose tools begin with its own Python."""
    (prefix / "share").mkdir(parents=True)
    (prefix / "pyvenv.cfg").write_text(f"home = {prefix.parent}/base/bin\n")
    program(prefix / "bin/python")
    for tool in tools:
        program(prefix / "bin" / tool, f"#!{prefix}/bin/python\n")
    return prefix


def opened(found: Program) -> set[Path]:
    return {part for part in found.parts if not part.is_symlink()}


def test_a_tool_of_pipx_brings_its_environment_and_the_python_that_was_made_from(tmp_path: Path) -> None:
    """`~/.local/bin/dbt` is a link to it; of what lies beside the link nothing is opened."""
    prefix = environment(tmp_path / "pipx/venvs/dbt", "dbt")
    (prefix / "pyvenv.cfg").write_text(f"home = {tmp_path}/pyenv/3.12/bin\n")
    program(tmp_path / "pyenv/3.12/bin/python3")
    (tmp_path / "pyenv/3.12/lib/python3.12").mkdir(parents=True)
    (tmp_path / "pyenv/3.12/lib/python3.12/os.py").touch()
    link = tmp_path / ".local/bin/dbt"
    program(link.with_name("other"))
    link.symlink_to(prefix / "bin/dbt")
    found = program_of(["dbt"], [str(link)], "/usr/bin/python3", EVERYTHING)
    assert opened(found) == {prefix, tmp_path / "pyenv/3.12"}
    assert (found.path, link in found.parts, found.folders) == (str(link), True, ())


def test_a_program_of_an_environment_on_path_has_its_neighbours_there(tmp_path: Path) -> None:
    """nvm's `tsc` asks `env` for `node`, which is beside it."""
    prefix = tmp_path / "nvm/v20"
    script = program(prefix / "lib/node_modules/typescript/bin/tsc", "#!/usr/bin/env node\n")
    node = program(prefix / "bin/node")
    (prefix / "bin/tsc").symlink_to(script)
    found = program_of(["tsc"], [str(prefix / "bin/tsc"), str(node)], None, EVERYTHING)
    assert (opened(found), found.folders) == ({prefix}, (str(prefix / "bin"),))


def test_a_package_of_npms_in_a_home_brings_those_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`npm install -g` with the prefix `~/.local`, which is never opened as a whole."""
    homes(monkeypatch, tmp_path)
    modules = tmp_path / ".local/lib/node_modules"
    script = program(modules / "typescript/bin/tsc", "#!/usr/bin/env node\n")
    link = _link(tmp_path / ".local/bin/tsc", script)
    assert opened(program_of(["tsc"], [str(link)], None, EVERYTHING)) == {modules}


def test_a_program_of_no_environment_comes_alone(tmp_path: Path) -> None:
    """`~/.cargo/bin/rg`: the file, and not the folder with the registry's token."""
    rg = program(tmp_path / ".cargo/bin/rg")
    found = program_of(["rg"], [str(rg)], None, EVERYTHING)
    assert (opened(found), found.path, found.folders) == ({rg}, str(rg), ())
    assert program_of(["rg"], [str(tmp_path / "gone"), "rg"], None, EVERYTHING) == Program()


def test_what_pip_install_user_made_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its packages lie in the home itself, which is closed to runs; said with what to type instead."""
    homes(monkeypatch, tmp_path)
    (tmp_path / ".local/lib/python3.12/site-packages").mkdir(parents=True)
    tool = program(tmp_path / ".local/bin/dbt", "#!/usr/bin/python3\n")
    with pytest.raises(ProgramRefused, match="a home folder is closed to runs") as refused:
        program_of(["dbt"], [str(tool)], None, EVERYTHING)
    assert "--with" in refused.value.hint and "pipx" in refused.value.hint


def test_python_is_the_runs_own_where_there_is_only_a_python3(tmp_path: Path) -> None:
    """By its path, from which it knows its environment; one that is there is found on PATH."""
    python = str(program(tmp_path / "venv/bin/python3"))
    told = [str(program(tmp_path / "other/bin/python"))]
    assert program_of(["python", "x.py"], told, python, EVERYTHING).path == python
    assert program_of(["python3"], told, python, EVERYTHING) == Program()
    program(tmp_path / "venv/bin/pytest")
    told = [str(program(tmp_path / "other/bin/pytest"))]
    assert program_of(["pytest"], told, python, EVERYTHING) == Program(), "the run's own environment comes first"


def homes(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    monkeypatch.setattr(open_folders, "_homes", lambda: frozenset(folders))


# Crafted prefixes: each makes, in a folder of its own with a home `ada`, sealrun's own and an operator's folder, what a
# row names as the program. None may open anything of `ada/private`, `ada` as a whole, or of sealrun's own.


def _link(path: Path, target: Path | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def _marked(prefix: Path, mark: str = "pyvenv.cfg") -> Path:
    program(prefix / mark, "")
    return program(prefix / "bin/tool")


def _named(place: Path, line: str) -> Path:
    return program(environment(place / "evil/venv") / "bin/tool", line)


CRAFTED: dict[str, Callable[[Path], Path | str]] = {
    "a home": lambda place: _marked(place / "ada"),
    "a home, by conda's mark": lambda place: _marked(place / "ada", "conda-meta/history"),
    "a home, by node's": lambda place: _marked(place / "ada", "lib/node_modules/x"),
    "above a home": lambda place: _marked(place),
    "shared in a home": lambda place: _marked(place / "ada/.local"),
    "settings of a home": lambda place: _marked(place / "ada/.config"),
    "a link to a home": lambda place: _link(place / "evil", _marked(place / "ada").parents[1]) / "bin/tool",
    "a link to its bin": lambda place: _link(place / "evil/bin", _marked(place / "ada").parent) / "tool",
    "a link and then up": lambda place: str(_link(place / "evil/l", _marked(place / "ada").parent)) + "/../bin/tool",
    "many ups": lambda place: f"{_marked(place / 'ada').parent}/../../ada/bin/../bin/tool",
    "a loop": lambda place: _link(place / "evil/bin/tool", place / "evil/bin/tool"),
    "a chain of links": lambda place: _link(
        place / "evil/bin/tool", _link(place / "evil/bin/next", _marked(place / "ada"))
    ),
    "a dangling link": lambda place: _link(place / "evil/bin/tool", place / "ada/gone"),
    "sealrun's own": lambda place: _marked(place / "sealrun"),
    "within sealrun's own": lambda place: _marked(place / "sealrun/venv"),
    "around sealrun's own": lambda place: _marked(place / "around/prefix", "pyvenv.cfg"),
    "a link to sealrun's own": lambda place: _link(place / "evil/bin/tool", _marked(place / "sealrun/venv")),
    "a key": lambda place: program(place / "ada/private/key", "key", 0o600),
    "a link to a key": lambda place: _link(place / "evil/bin/tool", program(place / "ada/private/key", "key", 0o600)),
    "a first line": lambda place: _named(place, f"#!{_marked(place / 'ada').with_name('python3')}\n"),
    "a first line of sealrun's": lambda place: _named(place, f"#!{_marked(place / 'sealrun/venv')}\n"),
    "a home of its Python's": lambda place: (
        program(environment(place / "evil/venv") / "pyvenv.cfg", f"home = {_marked(place / 'ada').parent}\n").with_name(
            "bin"
        )
        / "python"
    ),
    "a folder": lambda place: _marked(place / "ada/private").parent,
    "a relative path": lambda place: os.path.relpath(_marked(place / "ada")),
    "nothing": lambda place: "",
}


def crafted(place: Path, name: str, reach: Reach) -> list[str]:
    """What a crafted row opens that it may not; nothing where it is refused."""
    for folder in ("ada/private", "sealrun/keys", "around/prefix/sealrun"):
        (place / folder).mkdir(parents=True)
    (place / "ada/private/diary").touch()
    told = str(CRAFTED[name](place))
    try:
        found = program_of(["tool"], [told], None, reach)
    except ProgramRefused:
        return []
    closed = [place / "ada/private", place / "sealrun", place / "around/prefix/sealrun"]
    return [
        str(part)
        for part in opened(found)
        for real in [Path(os.path.realpath(part))]
        if any(real.is_relative_to(one) or one.is_relative_to(real) for one in closed)
    ]


def reach_in(place: Path, everything: bool) -> Reach:
    return Reach((place / "operators",), everything, (place / "sealrun", place / "around/prefix/sealrun"))


@pytest.mark.parametrize("everything", [True, False], ids=["own machine", "others submit"])
@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_prefix_opens_nothing_that_is_somebodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, everything: bool
) -> None:
    """I3: whatever a row names, no home, and nothing within or around sealrun's own folders."""
    homes(monkeypatch, tmp_path / "ada")
    assert crafted(tmp_path, name, reach_in(tmp_path, everything)) == []


AS_USER = """
import json, os, sys
sys.path[:0] = [sys.argv[1]]
from pathlib import Path
from executor.sandbox import folders
from tests.executor.worker.test_programs import CRAFTED, crafted, reach_in
found = {}
for number, name in enumerate(CRAFTED):
    place = Path(sys.argv[2], str(number))
    place.mkdir()
    folders._homes = lambda: {place / "ada"}
    found[name] = crafted(place, name, reach_in(place, True))
print(json.dumps(found))
"""


def test_nor_as_an_ordinary_user(as_ordinary_user: OrdinaryUser, open_folder: Path) -> None:
    """I3: the same without root's rights."""
    ended = as_ordinary_user(AS_USER, ROOT, open_folder)
    assert ended.stderr == ""
    assert json.loads(ended.stdout) == {name: [] for name in CRAFTED}


def test_where_others_submit_only_the_operators_folders_open(tmp_path: Path) -> None:
    """I3: a row that names what this worker's user can read opens it only below a folder that was opened to runs."""
    own, operators = environment(tmp_path / "own", "tool"), environment(tmp_path / "operators/venv", "tool")
    assert opened(program_of(["tool"], [f"{operators}/bin/tool"], None, reach_in(tmp_path, False))) == {operators}
    with pytest.raises(ProgramRefused, match=f"{own} is closed to runs") as refused:
        program_of(["tool"], [f"{own}/bin/tool"], None, reach_in(tmp_path, False))
    assert "SEALRUN_READABLE" in refused.value.hint
    _link(tmp_path / "operators/bin/tool", own / "bin/tool")
    with pytest.raises(ProgramRefused):
        program_of(["tool"], [f"{tmp_path}/operators/bin/tool"], None, reach_in(tmp_path, False))


def test_who_else_could_submit_is_told_by_the_database(tmp_path: Path) -> None:
    """A file in a folder of one's own is one's own; a server, or a folder that others may write to, is not."""
    (tmp_path / "home").mkdir(mode=0o700)
    environ = {"SEALRUN_HOME": str(tmp_path / "home")}
    assert only_its_user_submits(read_settings(environ))
    assert not only_its_user_submits(read_settings({**environ, "SEALRUN_DATABASE_URL": "postgresql://db/x"}))
    assert not only_its_user_submits(read_settings({**environ, "SEALRUN_DATABASE_URL": f"sqlite:///{tmp_path}/x.db"}))
    (tmp_path / "home").chmod(0o770 | stat.S_IWGRP)
    assert not only_its_user_submits(read_settings(environ))
