"""Whose project file counts: one that was looked at, as it was then; a stranger's chooses nothing of ours unasked."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.source.root import ProjectFile, project_file, source_root, strangers
from tests.executor.cli.conftest import Cli

CHOOSES = 'project = "shop"\n'


@pytest.fixture
def checkout(cli: Cli) -> Iterator[Path]:
    """A folder that came with a project file, a folder deeper."""
    cli.ok("project", "create", "shop", "-e", "prod")
    root = cli.jobs / "checkout"
    (root / "deep").mkdir(parents=True)
    (root / ".sealrun.toml").write_text(CHOOSES)
    yield root / "deep"
    cli.ok("allow", "--revoke", str(root))
    (root / ".sealrun.toml").unlink(missing_ok=True)
    (root / "pyproject.toml").unlink(missing_ok=True)
    (root / "deep").rmdir()
    root.rmdir()


def test_a_strangers_project_file_chooses_nothing_unasked(cli: Cli, checkout: Path) -> None:
    """Neither in a script, which gets a sentence and the mend, nor in any command that asks which is meant."""
    root = checkout.parent
    refused = cli("secret", "list", cwd=checkout, code=2).stderr
    assert refused == (
        f"sealrun: {root}/.sealrun.toml chooses the project 'shop', and nobody allowed it to\n"
        f"hint: look at it, then: sealrun allow {root}; or choose yourself: -p PROJECT -e ENV\n"
    )
    for words in (
        ("run", "--", "true"),
        ("secret", "set", "X"),
        ("secret", "explain", "--", "true"),
        ("variable", "set", "X", "1"),
        ("runs", "list"),
        ("source", "list"),
        ("key", "list"),
    ):
        ended = cli(*words, cwd=checkout, stdin="hunter2-value", code=2)
        assert "nobody allowed it to" in ended.stderr, words
    assert json.loads(cli("run", "--json", "--", "true", cwd=checkout, code=2).stdout)["error"]["code"] == (
        "folder_not_allowed"
    )
    cli.ok("secret", "list", "-p", "shop", cwd=checkout)
    cli.ok("secret", "list", cwd=checkout, environ={"SEALRUN_PROJECT": "shop"})


def test_it_counts_as_it_was_when_it_was_allowed(cli: Cli, checkout: Path) -> None:
    """However it is written, and for folders below; not once it says something else."""
    file = checkout.parent / ".sealrun.toml"
    assert "--yes" in cli("allow", cwd=checkout, code=2).stderr
    said = cli("allow", "--yes", cwd=checkout, code=0).stderr
    assert said == f"{file} is allowed to choose the project 'shop'\n"
    assert f"{file.parent}\tthe project 'shop'\t\n" in cli.ok("allow", "--list")
    cli.ok("secret", "list", cwd=checkout)
    file.write_text("# ours\n\"project\" = 'shop'\n")
    cli.ok("secret", "list", cwd=checkout)
    file.write_text(CHOOSES + 'environment = "prod"\n')
    refused = cli("secret", "list", cwd=checkout, code=2).stderr
    assert "chooses the project 'shop' and the environment 'prod', and it says something else than" in refused
    listed = cli.ok("allow", "--list")
    assert f"{file.parent}\tthe project 'shop' and the environment 'prod'\tchanged since: not allowed\n" in listed
    shown = [one for one in cli.json("allow", "--list", "--json") if one["folder"] == str(file.parent)]
    assert shown == [{"folder": str(file.parent), "project": "shop", "environment": "prod", "changed": True}]
    file.write_text(CHOOSES)
    cli.ok("secret", "list", cwd=checkout)
    cli.ok("allow", "--revoke", cwd=checkout)
    cli("secret", "list", cwd=checkout, code=2)
    assert os.stat(cli.home / "allowed_folders").st_mode & 0o777 == 0o600


def test_a_folder_that_is_not_there_stands_for_none_above_it(cli: Cli, checkout: Path) -> None:
    """Neither allowed nor revoked is its parent; what was allowed of a folder that is gone can be revoked."""
    root = checkout.parent
    for what in ("nowhere", "no/such/dir"):
        refused = cli("allow", str(root / what), "--yes", code=2).stderr
        assert refused.startswith(f"sealrun: no such folder: {root / what}\n")
    assert "is a file" in cli("allow", str(root / ".sealrun.toml"), "--yes", code=2).stderr
    assert str(root) not in cli.ok("allow", "--list")

    cli.ok("allow", str(checkout), "--yes")
    assert "no such folder" in cli("allow", "--revoke", str(root / "nowhere"), code=2).stderr
    cli.ok("secret", "list", cwd=checkout)

    gone = cli.jobs / "gone"
    gone.mkdir()
    (gone / ".sealrun.toml").write_text(CHOOSES)
    cli.ok("allow", str(gone), "--yes")
    (gone / ".sealrun.toml").unlink()
    gone.rmdir()
    assert f"{gone}\tnothing\tchanged since" in cli.ok("allow", "--list")
    assert "nothing of" in cli("allow", "--revoke", str(gone), code=0).stderr
    assert str(gone) not in cli.ok("allow", "--list")


def test_an_environment_is_a_choice_too(cli: Cli, checkout: Path) -> None:
    """With -p alone a stranger would still choose `prod`; with -e, or where the file names none, nothing is left."""
    (checkout.parent / ".sealrun.toml").write_text('project = "other"\nenvironment = "prod"\n')
    refused = cli("variable", "set", "X", "1", "-p", "shop", cwd=checkout, code=2).stderr
    assert "the environment 'prod'" in refused
    cli.ok("variable", "set", "X", "1", "-p", "shop", "-e", "default", cwd=checkout)
    cli.ok("variable", "set", "X", "1", "-p", "shop", cwd=checkout, environ={"SEALRUN_ENV": "default"})


def test_a_table_in_pyproject_is_the_same(cli: Cli, checkout: Path) -> None:
    """Of it our own table counts alone: other tools' may change."""
    (checkout.parent / ".sealrun.toml").unlink()
    general = checkout.parent / "pyproject.toml"
    general.write_text("[tool.sealrun]\n" + CHOOSES)
    cli("secret", "list", cwd=checkout, code=2)
    told = cli.json("allow", "--yes", "--json", str(checkout))
    assert told == {"file": str(general), "project": "shop", "environment": None, "new": True}
    general.write_text('[tool.ruff]\n[tool.sealrun]\nproject = "shop"\n')
    cli.ok("secret", "list", cwd=checkout)


def test_on_a_terminal_it_is_asked_once(cli: Cli, checkout: Path) -> None:
    """And the answer is kept; no answer, no project."""
    before = cli.jobs
    cli.jobs = checkout
    try:
        for answer, code in (("n\n", 2), ("y\n", 0)):
            terminal = cli.terminal("secret", "list")
            terminal.until("Follow it from now on?")
            terminal.type(answer)
            assert terminal.ended() == code, terminal.shown
        assert cli.terminal("secret", "list").ended() == 0
    finally:
        cli.jobs = before
    cli.ok("secret", "list", cwd=checkout)


def test_what_init_writes_is_allowed(cli: Cli, checkout: Path) -> None:
    """Its user has just said so; a copy of it elsewhere is somebody else's word again."""
    (checkout.parent / ".sealrun.toml").unlink()
    cli.ok("init", "shop", cwd=checkout.parent)
    cli.ok("secret", "list", cwd=checkout)
    copy = cli.jobs / "copy"
    copy.mkdir()
    (copy / ".sealrun.toml").write_bytes((checkout.parent / ".sealrun.toml").read_bytes())
    cli("secret", "list", cwd=copy, code=2)


def test_a_folders_name_does_not_change_what_is_asked(cli: Cli, tmp_path: Path) -> None:
    """Whoever packed a checkout has named its folders: a name begins no line, and moves no cursor."""
    folder = tmp_path / "a\r\x1b[2Kb\nfollow nothing"
    folder.mkdir()
    (folder / ".sealrun.toml").write_text(CHOOSES)
    terminal = cli.terminal("allow", str(folder))
    terminal.until("[y/N]")
    terminal.type("y\n")
    assert terminal.ended() == 0
    assert r"a\r\x1b[2Kb\nfollow nothing/.sealrun.toml, which chooses" in terminal.shown
    assert r"nothing/.sealrun.toml is allowed" in terminal.shown
    assert "\x1b[2K" not in terminal.shown and "\nfollow nothing" not in terminal.shown
    said = cli("allow", "--revoke", str(folder), code=0).stderr
    assert len(said.splitlines()) == 1
    refused = cli("secret", "list", cwd=folder, code=2).stderr
    assert [line.split(":")[0] for line in refused.splitlines()] == ["sealrun", "hint"]


def test_nothing_to_allow_is_said(cli: Cli, tmp_path: Path) -> None:
    """And a name from a file does not reach the terminal as it is."""
    assert "nothing chooses a project" in cli("allow", "--yes", str(tmp_path), code=1).stderr
    assert "nothing of" in cli("allow", "--revoke", str(tmp_path), code=0).stderr
    (tmp_path / ".sealrun.toml").write_text('project = "a\\u001b[2Jb"\n')
    assert "\x1b" not in cli("secret", "list", cwd=tmp_path, code=2).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_file_of_another_user_above_is_passed_over(cli: Cli, tmp_path: Path) -> None:
    """In /tmp anybody can put one above everybody: it is no source root, and names no project."""
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in (".sealrun.toml", "pyproject.toml"):
        (tmp_path / name).write_text(CHOOSES if name.startswith(".") else "[tool.sealrun]\n" + CHOOSES)
        os.chown(tmp_path / name, 60600, 60600)
    assert project_file(mine) == ProjectFile()
    assert source_root(mine, None) == mine
    assert strangers(mine) == tmp_path / ".sealrun.toml"
    told = cli("secret", "list", cwd=mine, code=2).stderr
    assert told.startswith("sealrun: no project is named\n") and "belongs to another user" in told
    assert "never followed" in cli("allow", "--yes", cwd=mine, code=1).stderr
    os.chown(mine, 60600, 60600)  # a folder that is theirs as well is a checkout of theirs
    assert project_file(mine) == ProjectFile("shop")
