"""What is said of an option that was typed wrong: which it is, and how it is typed."""

import pytest

from tests.executor.cli.conftest import Cli


@pytest.mark.parametrize(
    ("words", "sentence", "hint"),
    [
        (
            ("run", "--memory", "--", "true"),
            "--memory has no value: what follows it is --",
            "sealrun run … --memory SIZE -- …",
        ),
        (("run", "-p", "-m", "jobs"), "-p has no value: what follows it is -m", "sealrun run … -p PROJECT -m …"),
        (("run", "--collect"), "option '--collect' requires an argument", "see: sealrun run --help"),
        (("project", "set", "t", "--memory"), "option '--memory' requires", "see: sealrun project set --help"),
        (("runs", "download", "@last", "DIR"), "unexpected extra argument", "sealrun runs download RUN --output DIR"),
        (("run", "--memory", "3X", "a.py"), "--memory takes a size from 16M to 64T", "see: sealrun run --help"),
        (("run", "--cpus", "0", "a.py"), "--cpus takes a number of CPUs", "see: sealrun run --help"),
        (("run", "--pids", "2.5", "a.py"), "--pids takes a whole number", "see: sealrun run --help"),
        (("run", "--disk", "10K", "a.py"), "--disk takes a size from 1M", "see: sealrun run --help"),
        (
            ("run", "--env-file", "nofile", "a.py"),
            "--env-file nofile cannot be read: no such file or directory",
            "name a file of KEY=VALUE lines, or leave --env-file out",
        ),
    ],
)
def test_it_is_named_with_a_mend(cli: Cli, words: tuple[str, ...], sentence: str, hint: str) -> None:
    """A sentence and a hint, before anything is looked up."""
    said = cli(*words, code=2).stderr
    assert said.startswith(f"sealrun: {sentence}") or sentence in said.splitlines()[0], said
    assert said.splitlines()[1].startswith("hint: ") and hint in said.splitlines()[1], said
