"""The door itself: help, errors, and what it imports."""

import os
import subprocess
import sys

import pytest

from executor.cli.lazy import COMMANDS
from executor.cli.shown import ending
from tests.executor.cli.conftest import CHECKOUT, Cli

HEAVY = ("sqlmodel", "sqlalchemy", "celery", "kombu", "cryptography", "alembic")


def imported(cli: Cli, *words: str) -> set[str]:
    """The modules a command imports."""
    code = "import sys; sys.argv[0] = 'sealrun'\nimport atexit\nfrom executor.cli.main import main\n"
    code += "atexit.register(lambda: sys.stderr.write('\\nMODULES ' + ' '.join(sys.modules)))\nmain()"
    ended = subprocess.run(
        [sys.executable, "-c", code, *words], env=cli.environ, cwd=cli.jobs, capture_output=True, text=True
    )
    return set(ended.stderr.rpartition("MODULES ")[2].split())


def test_help_is_quick(cli: Cli) -> None:
    """It imports neither the database nor Celery, which take some tenths of a second."""
    assert not imported(cli, "--help") & set(HEAVY)
    assert not imported(cli, "--version") & set(HEAVY)
    assert not imported(cli, "nonsense") & set(HEAVY)


def test_what_is_imported_is_not_searched_for_garbage(cli: Cli) -> None:
    """And what comes after it is: a command may follow a run for days."""
    code = """
import gc, sys
from executor.cli.lazy import load
seen = []
gc.collect()
gc.callbacks.append(lambda phase, _: seen.append(phase))
load("run")
during = len(seen)
gc.collect()
frozen = gc.get_freeze_count() > 10_000
print("executor.cli.run" in sys.modules, frozen, during < 20, gc.isenabled(), len(seen) > during)
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["True"] * 5, ended.stdout


def test_only_what_speaks_to_the_broker_imports_celery(shop: Cli) -> None:
    """Storing and listing do without."""
    for words in (("secret", "list"), ("variable", "list"), ("project", "list"), ("audit", "list")):
        assert "celery" not in imported(shop, *words), words


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(cli: Cli, command: str) -> None:
    """In plain text where there is no terminal."""
    shown = cli.ok(command, "--help")
    assert shown.startswith(f"Usage: sealrun {command} ")
    assert "\x1b" not in shown and "─" not in shown and "--install-completion" not in shown


def test_what_is_typed_wrong_ends_with_2_and_a_hint(cli: Cli) -> None:
    """A close command is suggested."""
    refused = cli("secrt", code=2)
    assert (
        refused.stderr
        == "sealrun: no such command 'secrt'. Did you mean 'secret', 'user', 'serve'?\nhint: see: sealrun --help\n"
    )
    assert cli("runs", "show", code=2).stderr == (
        "sealrun: missing argument 'RUN'\nhint: see: sealrun runs show --help\n"
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("secret", "rollback", "K", "--to", "x"), "'--to': a whole number is needed"),
        (("run", "--timeout", "soon", "job.py"), "'--timeout': a length of time is needed, as 90, 5m, 1h30m or 90d"),
        (("runs", "list", "-L", "0"), "'-L' / '--limit': it must be at least 1"),
        (("secret", "import", "x", "--format", "yaml"), "'--format': 'yaml' is not one of 'env', 'json'"),
    ],
)
def test_an_option_that_cannot_be_read_is_told_in_plain_words(cli: Cli, words: tuple[str, ...], why: str) -> None:
    """And not in those of the library that reads it."""
    assert cli(*words, code=2).stderr.startswith(f"sealrun: invalid value for {why}\nhint: see: sealrun ")


def test_a_listing_says_that_without_e_it_has_all_environments(cli: Cli) -> None:
    """SEALRUN_ENV and "default" are for commands about one."""
    for words in (("secret", "list"), ("variable", "list"), ("key", "list"), ("key", "rewrap")):
        shown = cli.ok(*words, "--help")
        assert "This environment alone (else all of them)." in shown and 'else "default"' not in shown


def test_a_closed_pipe_is_quiet(shop: Cli) -> None:
    """`sealrun secret list | head -0`."""
    command = shop.command("secret", "list", "-p", "shop")
    with subprocess.Popen(
        command, env=shop.environ, cwd=shop.jobs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


def test_a_fault_of_ours_is_told_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    """An unexpected exception may quote what it saw: its kind and place are enough (I10)."""

    def fail() -> int:
        raise RuntimeError("hunter2-prod-key")

    assert ending.ended(fail) == 1

    said = capsys.readouterr().err
    assert "unexpected RuntimeError in test_main.py, line " in said
    assert "hunter2" not in said


def test_the_console_script_points_at_it() -> None:
    """What pip installs as `sealrun`."""
    assert 'sealrun = "executor.cli.warm.entry:main"' in (CHECKOUT / "pyproject.toml").read_text()


@pytest.mark.parametrize("script", ["settings_doc.py", "errors_doc.py", "cli_doc.py", "invariants_doc.py"])
def test_a_generated_page_is_what_the_code_says(script: str) -> None:
    """Settings, errors, commands and invariants are pages written by scripts/docs; no terminal's width matters."""
    checked = subprocess.run(
        [sys.executable, CHECKOUT / "scripts" / script, "--check"],
        env={**os.environ, "COLUMNS": "30"},
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr


def test_the_settings_page_has_every_setting_with_default_unit_and_reason() -> None:
    """None is left out, and none without a reason."""
    from executor.settings import ALL_SETTINGS

    page = (CHECKOUT / "docs" / "reference" / "settings.md").read_text()
    for setting in ALL_SETTINGS:
        assert all((setting.default_text, setting.unit, setting.reason)), setting
        assert f"| `{setting.name}`" in page
        assert setting.reason.replace("|", "\\|") in page
