"""`sealrun demo`: the whole line in one command, and the commands it leaves behind work."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.executor.cli.conftest import CHECKOUT, PATIENCE, Cli


@pytest.fixture(scope="module")
def shown(cli: Cli) -> "subprocess.CompletedProcess[str]":
    """What a newcomer sees, in an empty folder."""
    return cli("demo", code=0)


def test_it_shows_output_result_receipt_and_key_file(cli: Cli, shown: "subprocess.CompletedProcess[str]") -> None:
    """From the project to the receipt."""
    told = shown.stdout + shown.stderr
    for words in (
        "created project shop",
        "sealed DATABASE_URL version 1",
        "revenue 105,423.80",
        "left: report.md",
        "plain:            ***",
        '"product": "TEA-SENCHA"',
        "backup: wrote shop.sql.gz",
        "DATABASE_URL version 1",
        "opened  ",
        "dropped  ",
        "rung  ",
        f"Private keys are wrapped by {cli.home}/keys/local.key",
        "losing it loses the secrets",
    ):
        assert words in told, words


def test_no_run_shows_what_it_was_given(cli: Cli, shown: "subprocess.CompletedProcess[str]") -> None:
    """The values were made up on the spot and appear nowhere: the run that prints one shows its length only (I5)."""
    assert "holds has 37 characters" in shown.stdout
    assert not re.search(r"demo-[\w-]{20}", shown.stdout + shown.stderr)


def test_the_commands_it_ends_with_work_as_printed(cli: Cli, shown: "subprocess.CompletedProcess[str]") -> None:
    """From the folder the user is in."""
    commands = shown.stdout.splitlines()[-4:]
    assert commands == [
        "cd sealrun-demo",
        "sealrun project create shop",
        "printf %s sqlite:///examples/shop.db | sealrun secret set DATABASE_URL -p shop",
        "sealrun run -p shop examples/report.py --since 2026-01-01",
    ]
    own = cli.folder / "bin"
    own.mkdir()
    (own / "sealrun").write_text(f'#!/bin/sh\nexec {sys.executable} -m executor.cli "$@"\n')
    (own / "sealrun").chmod(0o755)
    ended = subprocess.run(
        ["sh", "-ec", "\n".join(commands)],
        cwd=cli.jobs,
        env={**cli.environ, "PATH": f"{own}:{cli.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, ended.stderr
    assert "report: revenue 105,423.80" in ended.stdout


def test_again_it_uses_what_is_there(cli: Cli, shown: "subprocess.CompletedProcess[str]") -> None:
    """A secret of the project may be somebody's by now: it is not replaced."""
    before = {one["name"]: one["version"] for one in cli.json("secret", "list", "-p", "shop", "--json")}

    again = cli("demo", code=0)

    assert "project shop exists already" in again.stderr
    assert "DATABASE_URL is sealed already" in again.stderr
    assert {one["name"]: one["version"] for one in cli.json("secret", "list", "-p", "shop", "--json")} == before


def test_where_the_examples_are_already_they_are_used(cli: Cli, shown: "subprocess.CompletedProcess[str]") -> None:
    """As in a checkout: nothing is copied, and there is no `cd`."""
    checkout = cli.folder / "checkout"
    shutil.copytree(CHECKOUT / "examples", checkout / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "pyproject.toml").write_text("")

    ended = cli("demo", cwd=checkout, code=0)

    assert sorted(path.name for path in checkout.iterdir()) == ["examples", "pyproject.toml"]
    assert ended.stdout.splitlines()[-3] == "sealrun project create shop"


def test_in_a_home_folder_the_examples_get_a_folder_of_their_own(
    cli: Cli, shown: "subprocess.CompletedProcess[str]"
) -> None:
    """A run may not read a whole home."""
    home = Path(cli.environ["HOME"])

    cli("demo", cwd=home, code=0)

    assert (home / "sealrun-demo" / "examples" / "report.py").exists()


def test_the_copy_has_every_example(cli: Cli, shown: "subprocess.CompletedProcess[str]") -> None:
    """Those in folders too, readable for the user id that a run is lent."""
    shipped, copied = CHECKOUT / "examples", cli.jobs / "sealrun-demo" / "examples"

    for path in shipped.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            copy = copied / path.relative_to(shipped)
            assert copy.read_bytes() == path.read_bytes()
            assert (copy.stat().st_mode & 0o444, copy.parent.stat().st_mode & 0o555) == (0o444, 0o555)


def test_a_run_that_fails_fails_the_demo(cli: Cli, shown: "subprocess.CompletedProcess[str]") -> None:
    """With the run to look at."""
    cli.ok("secret", "set", "DATABASE_URL", "-p", "shop", stdin="not a database url")

    failed = cli("demo", code=1)

    assert "the run of examples/report.py --since 2026-01-01 did not end as it should" in failed.stderr
    assert "hint: see: sealrun runs show " in failed.stderr


def test_with_a_database_configured_and_no_worker_it_says_so(cli: Cli) -> None:
    """It would wait for ever."""
    configured = {"SEALRUN_DATABASE_URL": f"sqlite:///{cli.folder}/other/x.db"}
    cli.ok("migrate", environ=configured)

    refused = cli("demo", environ=configured, code=125)

    assert f"no worker for this machine ({socket.gethostname()}) has been seen yet" in refused.stderr
    assert "hint: start one: sealrun worker" in refused.stderr
