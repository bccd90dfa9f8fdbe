"""What is told to who looks for a command where it is not."""

from pathlib import Path

import pytest

from executor.cli.lazy import COMMANDS, Sealrun, load
from executor.errors import Misuse


def told(*words: str) -> str:
    """The hint that a line ends with."""
    root = Sealrun(name="sealrun")
    with pytest.raises(Misuse) as refused:
        context = root.make_context("sealrun", list(words))
        root.invoke(context)
    assert refused.value.message.startswith("no such command '") and refused.value.exit_code == 2
    return refused.value.hint or ""


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("logs", "sealrun runs logs @last"),
        ("logs 3f2a -f", "sealrun runs logs 3f2a -f"),
        ("tail 3f2a", "sealrun runs logs -f 3f2a"),
        ("ps", "sealrun runs list"),
        ("history", "sealrun runs list"),
        ("status", "sealrun runs show @last"),
        ("show 3f2a", "sealrun runs show 3f2a"),
        ("cancel 3f2a", "sealrun runs cancel 3f2a"),
        ("retry", "sealrun runs retry @last"),
        ("python job.py", "sealrun run job.py"),
        ("help run", "sealrun run --help"),
        ("list secrets", "the noun comes first: sealrun secret list"),
        ("show run 3f2a", "the noun comes first: sealrun runs show"),
        ("create project", "the noun comes first: sealrun project create"),
        ("set API_KEY hunter2", "sealrun secret set"),
        ("runs ps", "sealrun runs list"),
        ("runs stop 3f2a", "sealrun runs cancel 3f2a"),
        ("secret rm API_KEY", "sealrun secret delete"),
        ("variable add LEVEL=hunter2", "sealrun variable set"),
        ("project show", "sealrun project list"),
        ("audit log", "sealrun audit list"),
    ],
)
def test_a_command_that_is_elsewhere_is_told(typed: str, meant: str) -> None:
    """With its words where they name runs, and without them where a value might be among them (I10)."""
    hint = told(*typed.split())
    assert hint == meant
    assert "hunter2" not in hint
    noun, *verb = hint.rpartition("sealrun ")[2].split()[:2]
    assert noun in COMMANDS
    if noun != "run":
        assert verb[0] in load(noun).commands


def test_a_file_in_the_place_of_a_command_is_to_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a function of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my job.py").touch()
    assert told("my job.py", "--day", "1") == "to run it: sealrun run 'my job.py' --day 1"
    assert told("my job.py:load") == "to run it: sealrun run 'my job.py:load'"
