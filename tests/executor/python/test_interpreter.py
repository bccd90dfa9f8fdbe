"""Which Python a run gets: the one asked for, the project's, or the one on PATH; never sealrun's own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from executor.errors import PythonUnavailable
from executor.python.choice import choose_interpreter
from executor.python.layout import belongs_to_more, interpreter_paths
from executor.sandbox import folders as open_folders

REAL = Path(sys.executable).resolve()


def program(path: Path, text: str = "\x7fELF", mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


# Choosing -----------------------------------------------------------------------------------------


def test_what_is_asked_for_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program, a virtual environment's folder, a path of this folder or of the home; as an absolute path."""
    python = program(tmp_path / "venv/bin/python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for wanted in (str(python), str(tmp_path / "venv"), "venv/bin/python", "venv", "~/venv/bin/python", "~/venv"):
        assert choose_interpreter(tmp_path, wanted, "") == str(python)
    program(tmp_path / "text", mode=0o644)
    for wanted in ("gone", "text", str(tmp_path), "", "~nobody-of-this-name/x"):
        with pytest.raises(PythonUnavailable, match="is not an executable file"):
            choose_interpreter(tmp_path, wanted, "")


def test_the_projects_environment_comes_before_path(tmp_path: Path) -> None:
    """`.venv` in the source root; its link is kept, since it is what makes it that environment."""
    program(tmp_path / "bin/python3")
    own = tmp_path / "project/.venv/bin/python"
    own.parent.mkdir(parents=True)
    own.symlink_to(tmp_path / "bin/python3")
    assert choose_interpreter(tmp_path / "project", None, str(tmp_path / "bin")) == str(own)
    own.unlink()
    own.symlink_to(tmp_path / "gone")
    assert choose_interpreter(tmp_path / "project", None, str(tmp_path / "bin")) == str(tmp_path / "bin/python3")


def test_path_is_searched_in_order_for_what_can_be_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a folder, not a file without the bit, not an empty entry; a relative entry becomes an absolute path."""
    (tmp_path / "a/python3").mkdir(parents=True)
    program(tmp_path / "b/python3", mode=0o644)
    program(tmp_path / "c/python3")
    program(tmp_path / "d/python3")
    monkeypatch.chdir(tmp_path)
    entries = ["", "/nowhere", *(str(tmp_path / name) for name in "abcd")]
    assert choose_interpreter(tmp_path, None, ":".join(entries)) == str(tmp_path / "c/python3")
    assert choose_interpreter(tmp_path, None, "d") == str(tmp_path / "d/python3")
    with pytest.raises(PythonUnavailable, match="PATH has no python3"):
        choose_interpreter(tmp_path, None, ":".join(entries[:4]))


def test_sealruns_own_is_never_taken(tmp_path: Path) -> None:
    """Not from PATH, where it stands first once activated, nor as the project's `.venv`, nor behind a script."""
    other = program(tmp_path / "other/python3")
    ours = Path(sys.prefix, "bin")
    assert choose_interpreter(tmp_path, None, f"{ours}:{other.parent}") == str(other)
    if sys.prefix != sys.base_prefix:
        (tmp_path / ".venv").symlink_to(sys.prefix)
        assert choose_interpreter(tmp_path, None, f"{ours}:{other.parent}") == str(other)
    shim = program(tmp_path / "shims/python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    assert choose_interpreter(tmp_path / "root", None, f"{shim.parent}:{other.parent}") == str(other)
    with pytest.raises(PythonUnavailable, match="sealrun's own"):
        choose_interpreter(tmp_path / "root", None, str(shim.parent))


def test_a_shim_leads_to_the_interpreter_behind_it(tmp_path: Path) -> None:
    """As pyenv's: a script that decides which Python it is; the run gets that one, whatever its own PATH is."""
    if sys.prefix != sys.base_prefix and REAL.parent != Path(sys.prefix, "bin"):
        shim = program(tmp_path / "shims/python3", f'#!/bin/sh\nexec "{REAL}" "$@"\n')
        assert Path(choose_interpreter(tmp_path / "root", None, str(shim.parent))).resolve() == REAL


@pytest.mark.parametrize(
    "script", ["#!/bin/sh\nexit 1\n", "#!/no/such/shell\n", "#!/bin/sh\necho /nowhere\n", "#!/bin/sh\necho\n"]
)
def test_a_shim_without_anything_behind_it_is_passed_by(tmp_path: Path, script: str) -> None:
    """pyenv with no version chosen: what comes later on PATH is taken; and alone it is an error that says so."""
    shim = program(tmp_path / "shims/python3", script)
    other = program(tmp_path / "other/python3")
    assert choose_interpreter(tmp_path / "root", None, f"{shim.parent}:{other.parent}") == str(other)
    with pytest.raises(PythonUnavailable):
        choose_interpreter(tmp_path / "root", None, str(shim.parent))


@pytest.mark.parametrize("entry", [".", "bin", "{root}/bin", "{root}/../other"])
def test_i3_a_script_of_the_source_root_is_not_asked_what_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    """I3: it would be executed outside of the sandbox; nor is one that lies elsewhere and leads into the root."""
    root = tmp_path / "root"
    script = f'#!/bin/sh\ntouch {tmp_path}/executed\nexec "{REAL}" "$@"\n'
    program(root / "bin/python3", script)
    program(root / "python3", script)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/python3").symlink_to(root / "python3")
    monkeypatch.chdir(root)
    later = program(tmp_path / "later/python3")
    assert choose_interpreter(root, None, f"{entry.format(root=root)}:{later.parent}") == str(later)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (".python-version", "3.12.4\n", "PYENV=3.12.4"),
        (".python-version", "# ours\n3.12 3.11/envs/etl\n", "PYENV=3.12:3.11/envs/etl"),
        (".tool-versions", "nodejs 22.1.0\npython 3.12.4 system # both\n", "ASDF=3.12.4 system"),
        (".python-version", "../../../root/evil\n", "PYENV="),
        (".python-version", "/root/evil\n", "PYENV="),
        (".tool-versions", "python path:./evil\n", "ASDF="),
        (".python-version", None, "PYENV="),
    ],
)
def test_i3_a_version_manager_is_asked_outside_of_the_source_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str | None, said: str
) -> None:
    """I3: told the version that a file there has, and never where else to look for a program."""
    root = tmp_path / "root/jobs"
    root.mkdir(parents=True)
    if text is None:
        os.mkfifo(root.parent / file)
    else:
        (root.parent / file).write_text(text)
    for name in ("PYENV_VERSION", "ASDF_PYTHON_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYENV_DIR", str(root))
    monkeypatch.chdir(root)
    tells = 'echo "PYENV=$PYENV_VERSION ASDF=$ASDF_PYTHON_VERSION in $PWD, ${PYENV_DIR:-no folder}"'
    shim = program(tmp_path / "shims/python3", f'#!/bin/sh\n{tells} > {tmp_path}/asked\necho "{REAL}"\n')
    choose_interpreter(root, None, str(shim.parent))
    asked = (tmp_path / "asked").read_text()
    assert f"{said} " in f"{asked.replace(' ASDF', '  ASDF')}" and asked.endswith(" in /, no folder\n")


def test_a_program_that_may_be_executed_and_not_read_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems install it so."""
    python = program(tmp_path / "python3", mode=0o755)
    real = open

    def closed(path: object, *rest: object, **more: object) -> object:
        if str(path) == str(python):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **more)

    monkeypatch.setattr("builtins.open", closed)
    assert choose_interpreter(tmp_path, None, str(tmp_path)) == str(python)


# Its folders --------------------------------------------------------------------------------------


@pytest.fixture
def unexecuted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything that is started fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was executed")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(os, "posix_spawn", refuse)
    monkeypatch.setattr(os, "execve", refuse)


def install(prefix: Path, *more: str) -> Path:
    for part in ("lib/python3.12", "include", *more):
        (prefix / part).mkdir(parents=True)
    (prefix / "lib/python3.12/os.py").touch()
    return program(prefix / "bin/python3.12")


@pytest.mark.usefixtures("unexecuted")
def test_a_virtual_environment_leads_to_what_it_was_made_from(tmp_path: Path) -> None:
    """Every link on the way is followed and kept: as pyenv and uv lay them, with relative links and a linked folder."""
    base = install(tmp_path / "versions/3.12.1")
    (base.parent / "python3").symlink_to("python3.12")
    (tmp_path / "current").symlink_to("versions/3.12.1")
    venv = tmp_path / "project/.venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "lib").mkdir()
    (venv / "pyvenv.cfg").write_text(f"home = {tmp_path}/current/bin\n")
    (venv / "bin/python3").symlink_to("../../../current/bin/python3")
    (venv / "bin/python").symlink_to("python3")
    path, parts = interpreter_paths(str(venv / "bin/python"))
    assert path == venv / "bin/python"
    found = {str(part.relative_to(tmp_path)) for part in parts}
    assert found == {
        "project/.venv",
        "versions/3.12.1",
        # By these names it is looked for; they are links, which open nothing.
        "current",
        "project/.venv/bin/python",
        "project/.venv/bin/python3",
        "versions/3.12.1/bin/python3",
    }


@pytest.mark.usefixtures("unexecuted")
def test_a_virtual_environment_of_copies_leads_there_too(tmp_path: Path) -> None:
    """`python -m venv --copies` makes no link: pyvenv.cfg says where the installation is."""
    base = install(tmp_path / "python")
    venv = tmp_path / "venv"
    (venv / "lib").mkdir(parents=True)
    shutil.copytree(base.parent, venv / "bin")
    (venv / "pyvenv.cfg").write_text(
        f"include-system-site-packages = false\nhome  =  {base.parent}\nversion = 3.12.1\n"
    )
    _, parts = interpreter_paths(str(venv / "bin/python3.12"))
    assert {tmp_path / "python", venv} <= set(parts)


@pytest.mark.usefixtures("unexecuted")
def test_a_mere_link_in_a_home_opens_no_more_than_its_folder(tmp_path: Path) -> None:
    """`~/.local/bin/python3.12`, as uv links it: not `~/.local/lib`, and above all not `~/.local/share`."""
    local = tmp_path / ".local"
    base = install(local / "share/uv/python/cpython-3.12.1")
    (local / "lib").mkdir()
    (local / "bin").mkdir()
    (local / "bin/python3.12").symlink_to(base)
    _, parts = interpreter_paths(str(local / "bin/python3.12"))
    assert local / "bin" in parts and base.parent.parent in parts
    assert local not in parts and local / "share" not in parts and local / "lib" not in parts


def homes(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Let these be the home folders of this machine."""
    monkeypatch.setattr(open_folders, "_homes", lambda: frozenset(folders))


def private(folder: Path) -> Path:
    """A folder that looks like a prefix, and is somebody's own."""
    for name in ("bin", "lib", "lib64", "include", "share"):
        (folder / name).mkdir(parents=True)
        (folder / name / "diary").touch()
    program(folder / "bin/python3.12")
    return folder


def opened(venv: Path) -> list[Path]:
    """What is opened for an environment: what it names but the links, which open nothing."""
    return [part for part in interpreter_paths(str(venv / "bin/python"))[1] if not part.is_symlink()]


@pytest.mark.usefixtures("unexecuted")
@pytest.mark.parametrize("ups", range(2, 5))
def test_links_are_followed_as_the_kernel_does(tmp_path: Path, ups: int) -> None:
    """I3: a link to a folder and then `..` leads elsewhere than its text says; what the text says is not opened."""
    deep = tmp_path / "far/away/really/very/deep"
    deep.mkdir(parents=True)
    venv = tmp_path / "home/work/project/.venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/deep").symlink_to(deep)
    path = Path("deep", *[".."] * ups, "own/bin/python3.12")
    claimed = private(Path(os.path.normpath(venv / "bin" / path)).parents[1])
    real = program((venv / "bin" / path).resolve())
    (venv / "bin/python").symlink_to(path)
    assert real.is_relative_to(tmp_path / "far")
    found = opened(venv)
    assert set(found) == {venv / "bin", real.parent}
    assert not any(part.is_relative_to(claimed) for part in found)


@pytest.mark.usefixtures("unexecuted")
@pytest.mark.parametrize("name", ["lib", "lib64", "include", "bin", "pyvenv.cfg"])
@pytest.mark.parametrize("how", ["straight", "by the way", "up"])
@pytest.mark.parametrize("kind", ["environment", "home"])
def test_a_part_that_leads_out_of_its_environment_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str, kind: str
) -> None:
    """I3: the project chose it. A `.venv/lib` that is a link to somebody's folder opens nothing there."""
    if kind == "home":
        homes(monkeypatch, tmp_path / "project/.venv")
    own = private(tmp_path / "own")
    target = {"straight": own / "lib", "by the way": Path("between"), "up": Path("../../own/lib")}[how]
    if name == "pyvenv.cfg":
        (own / "lib/secret.cfg").write_text("home = /nowhere\n")
        target = {
            "straight": own / "lib/secret.cfg",
            "by the way": Path("between"),
            "up": Path("../../own/share/diary"),
        }[how]
    venv = tmp_path / "project/.venv"
    for part in ("bin", "lib", "include"):
        (venv / part).mkdir(parents=True)
    (venv / "pyvenv.cfg").touch()
    (venv / "lib64").symlink_to("lib")
    program(venv / "bin/python")
    program(own / "lib/python")
    if (venv / name).is_dir() and not (venv / name).is_symlink():
        shutil.rmtree(venv / name)
    else:
        (venv / name).unlink()
    (venv / "between").symlink_to(own / ("lib/secret.cfg" if name == "pyvenv.cfg" else "lib"))
    (venv / name).symlink_to(target)
    found = opened(venv)
    # Where the whole `bin` is a link, the program itself is what it leads to, and no more of that folder.
    assert [part for part in found if part.is_relative_to(own)] == ([own / "lib/python"] if name == "bin" else [])
    assert name == "bin" or (venv if kind == "environment" else venv / "bin") in found


@pytest.mark.usefixtures("unexecuted")
def test_a_prefix_without_an_installation_opens_its_bin_alone(tmp_path: Path) -> None:
    """I3: a home with `~/bin/python` is a prefix by its form, and `~/lib`, `~/include` and `~/share` are somebody's."""
    own = private(tmp_path / "own")
    venv = tmp_path / "project/.venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text(f"home = {own}/bin\n")
    (venv / "bin/python").symlink_to(own / "bin/python3.12")
    assert opened(venv) == [venv, own / "bin"]
    (own / "lib/python3.12").mkdir()
    (own / "lib/python3.12/os.py").touch()
    assert opened(venv) == [venv, own]


@pytest.mark.usefixtures("unexecuted")
@pytest.mark.parametrize("home", ["", "ada", ".."])
def test_an_installation_in_a_home_opens_its_own_parts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    """I3: Python built with `--prefix=$HOME`, or an environment made of a home, or of what holds homes."""
    own = private(tmp_path / "own")
    homes(monkeypatch, (own / home).resolve())
    (own / "pyvenv.cfg").touch()
    parts = [own] if home == ".." else [own / name for name in ("bin", "lib", "lib64", "include", "pyvenv.cfg")]
    assert interpreter_paths(str(own / "bin/python3.12"))[1] == parts


@pytest.mark.parametrize(
    "prefix",
    ["/", "/etc", "/root", "/var", "/proc", "/home", "/home/nobody-lists-me", "/srv", "/usr/local", "HOME/.local"],
)
def test_what_is_never_opened_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    """I3: whatever lies in it; an environment at the root, as images have it, is one of its own."""
    homes(monkeypatch, tmp_path)
    assert belongs_to_more(Path(prefix.replace("HOME", str(tmp_path))))
    assert not any(map(belongs_to_more, (Path("/venv"), Path("/opt/conda"), tmp_path / "venv", tmp_path / ".venv")))


@pytest.mark.usefixtures("unexecuted")
def test_a_link_to_what_is_no_program_opens_nothing(tmp_path: Path) -> None:
    """I3: `.venv/bin/python` may be a link to somebody's key; it is not run, so it is not read either."""
    (tmp_path / "own").mkdir()
    key = program(tmp_path / "own/id_ed25519", mode=0o600)
    tool = program(tmp_path / "own/python3.12-renamed")
    venv = tmp_path / "project/.venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(key)
    assert opened(venv) == [venv / "bin"]
    (venv / "bin/python").unlink()
    (venv / "bin/python").symlink_to(tool)
    assert opened(venv) == [venv / "bin", tool]


@pytest.mark.usefixtures("unexecuted")
def test_all_of_an_environment_of_condas_is_readable(tmp_path: Path) -> None:
    """Its programs look beside them: `ssl/cert.pem`, `share/jupyter`, `etc/fonts`, `libexec`."""
    conda = install(tmp_path / "conda", "conda-meta", "ssl").parents[1]
    (conda / "conda-meta/history").touch()
    (conda / "envs/etl/bin").mkdir(parents=True)
    (conda / "envs/etl/conda-meta").mkdir()
    (conda / "envs/etl/conda-meta/history").touch()
    (conda / "envs/etl/bin/python").symlink_to("python3.12")
    program(conda / "envs/etl/bin/python3.12")
    assert opened(conda / "envs/etl") == [conda / "envs/etl"]
    assert interpreter_paths(str(conda / "bin/python3.12"))[1] == [conda]


@pytest.mark.usefixtures("unexecuted")
def test_loops_and_gaps_end(tmp_path: Path) -> None:
    """An interpreter that is gone, or a link to itself, is a sentence."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("gone")
    for name in ("loop", "dangling", "gone"):
        with pytest.raises(PythonUnavailable, match="does not exist"):
            interpreter_paths(str(tmp_path / name))


@pytest.mark.usefixtures("unexecuted")
def test_the_systems_own_needs_nothing_opened() -> None:
    """What lies in /usr every run can read; a command has no interpreter at all."""
    if Path("/usr/bin/python3").exists():
        assert all(
            str(part) in ("/bin", "/lib", "/lib64", "/include") for part in interpreter_paths("/usr/bin/python3")[1]
        )
    assert interpreter_paths(None) == (Path(), [])


def test_these_folders_are_enough_for_a_real_one(tmp_path: Path) -> None:
    """An interpreter starts, finds its library and its environment's packages with nothing else opened to it."""
    from executor.sandbox import kernel
    from executor.sandbox.confinement import SYSTEM_FOLDERS

    if not kernel.landlock_abi():
        pytest.skip("this kernel has no Landlock")
    subprocess.run([REAL, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (site,) = (tmp_path / "venv/lib").glob("python3*/site-packages")
    (tmp_path / "venv/share").mkdir()
    (tmp_path / "venv/share/template").write_text("in the environment")
    (site / "shop_package.py").write_text("import sys\nhere = open(f'{sys.prefix}/share/template').read()\n")
    path, parts = interpreter_paths(str(tmp_path / "venv/bin/python"))

    def bound() -> None:
        rules = kernel.Ruleset()
        for readable in (*SYSTEM_FOLDERS, *map(str, parts)):
            rules.allow(readable, kernel.FS_READ)
        kernel.forbid_new_privileges()
        rules.restrict_self()

    code = "import json, decimal, ssl, shop_package; print(shop_package.here)"
    ended = subprocess.run([path, "-c", code], capture_output=True, text=True, preexec_fn=bound, cwd="/", env={})
    assert (ended.stdout, ended.stderr) == ("in the environment\n", "")
