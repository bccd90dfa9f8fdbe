"""Completion in bash, zsh and fish: commands, options, and the names that are there. Never an error on the prompt."""

from collections.abc import Callable, Mapping

import pytest

from tests.executor.cli.conftest import Cli

VALUE = "a-value-nobody-sees-42"


def bash(typed: str) -> Mapping[str, str]:
    return {
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - (not typed.endswith(" "))),
        "_SEALRUN_COMPLETE": "complete_bash",
    }


def zsh(typed: str) -> Mapping[str, str]:
    return {"_TYPER_COMPLETE_ARGS": typed, "_SEALRUN_COMPLETE": "complete_zsh"}


def fish(typed: str) -> Mapping[str, str]:
    return {
        "_TYPER_COMPLETE_ARGS": typed,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_SEALRUN_COMPLETE": "complete_fish",
    }


@pytest.fixture(scope="module")
def shop(cli: Cli) -> Cli:
    """A project with one of each kind of name."""
    cli.ok("project", "create", "shop", "-e", "staging")
    cli.ok("secret", "set", "DATABASE_URL", "-p", "shop", stdin=VALUE)
    cli.ok("variable", "set", "REGION", "eu", "-p", "shop")
    cli.ok("source", "create", "lake", "--kind", "s3", "--bucket", "b", "-p", "shop")
    cli.ok("run", "-p", "shop", "--detach", "--queue-timeout", "1", "--", "true")
    return cli


@pytest.mark.parametrize(
    ("typed", "proposed"),
    [
        ("sealrun ru", {"run", "runs"}),
        ("sealrun secret se", {"set"}),
        ("sealrun runs list --st", {"--state"}),
        ("sealrun secret list -p s", {"shop"}),
        ("sealrun project delete s", {"shop"}),
        ("sealrun secret list -p shop -e s", {"staging"}),
        ("sealrun secret delete -p shop D", {"DATABASE_URL"}),
        ("sealrun run -p shop --secret D", {"DATABASE_URL"}),
        ("sealrun variable delete -p shop R", {"REGION"}),
        ("sealrun source delete -p shop l", {"lake"}),
        ("sealrun catalog delete -p shop l", set()),
        ("sealrun runs show @", {"@last"}),
        ("sealrun secret delete -p nowhere D", set()),
    ],
)
@pytest.mark.parametrize("shell", [bash, zsh, fish])
def test_what_is_there_is_proposed(
    shop: Cli, shell: Callable[[str], Mapping[str, str]], typed: str, proposed: set[str]
) -> None:
    """And nothing else; a name that leads nowhere is no error."""
    ended = shop(environ=shell(typed), code=0)
    assert ended.stderr == ""
    words = ended.stdout.replace('"', " ").replace(":", " ").split()
    assert proposed <= set(words)
    assert proposed or not {"DATABASE_URL", "lake"} & set(words)
    assert VALUE not in ended.stdout


def test_a_run_is_proposed_by_its_id(shop: Cli) -> None:
    """As listings show it."""
    (run,) = shop.json("runs", "list", "--json")
    assert run["id"][:8] in shop(environ=bash("sealrun runs show "), code=0).stdout.split()


def test_without_a_database_nothing_is_proposed_and_nothing_said(shop: Cli) -> None:
    """One that does not answer is no error at a prompt."""
    away = {"SEALRUN_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    ended = shop(environ={**bash("sealrun runs show "), **away}, code=0)
    assert (ended.stdout.strip(), ended.stderr) == ("", "")


def test_tab_makes_no_home_and_no_database(new_cli: Cli) -> None:
    """Where sealrun was never used, looking for names leaves nothing behind."""
    ended = new_cli(environ=bash("sealrun runs show "), code=0)
    assert (ended.stdout.strip(), ended.stderr) == ("", "")
    assert not new_cli.home.exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(cli: Cli, shell: str) -> None:
    """What --install-completion writes and --show-completion shows, for the shell that it is called from."""
    told = cli(environ={"_SEALRUN_COMPLETE": f"source_{shell}"}, code=0).stdout
    assert f"complete_{shell}" in told and "sealrun" in told
