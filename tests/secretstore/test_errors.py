"""The base of all errors: message, hint, and what a traceback shows."""

import pickle
import subprocess
import sys
import traceback
from pathlib import Path

from secretstore.errors import RowUnreadable, SettingsProblem, UnknownProject, UnknownSecret

CHECKOUT = Path(__file__).resolve().parents[2]


def test_a_raiser_may_say_it_better() -> None:
    """With another message, which brings its own hint: the class's may be about something else."""
    error = RowUnreadable('the chain of "{project}" is broken', project="{shop}")
    assert (error.message, error.hint, error.names) == ('the chain of "{shop}" is broken', None, {"project": "{shop}"})
    assert (error.code, error.status) == ("row_unreadable", 500)


def test_a_better_hint_replaces_the_usual_one() -> None:
    """Who raises may know more, and what was given comes back as it was, braces and all."""
    error = UnknownProject(project="{shop}")
    assert (str(error), error.hint) == ('no project "{shop}"', "create it: sealrun project create {shop}")
    assert UnknownProject(project="shpo", hint='did you mean "{shop}"?').hint == 'did you mean "{shop}"?'


def test_a_traceback_shows_the_hint() -> None:
    """Once, below the message, for whoever calls from Python; a hint that is replaced is gone."""
    error = UnknownSecret(name="TOKEN", project="shop", environment="default")
    shown = traceback.format_exception_only(error)
    assert shown[1:] == ["hint: store it: sealrun secret set TOKEN -p shop -e default\n"]
    assert "hint" not in str(error)
    error.advise("ask a colleague")
    assert "".join(traceback.format_exception_only(error)).count("hint: ") == 1
    assert "hint: ask a colleague\n" in traceback.format_exception_only(pickle.loads(pickle.dumps(error)))
    error.advise(None)
    assert len(traceback.format_exception_only(error)) == 1 and error.hint is None


def test_without_docstrings_the_code_is_said() -> None:
    """`python -OO` has none; the code and the hint are still there."""
    script = "from secretstore.errors import UnknownProject as E; e = E(project='shop'); print(e, e.hint, sep='|')"
    said = subprocess.run(
        [sys.executable, "-OO", "-c", script], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    assert said.stdout == "unknown_project|create it: sealrun project create shop\n"


def test_settings_problems_are_listed() -> None:
    """Each problem has a line of its own, and the list travels too."""
    error = pickle.loads(pickle.dumps(SettingsProblem(["A is empty", "B is {odd}"])))
    assert error.problems == ["A is empty", "B is {odd}"]
    assert str(error) == "the settings cannot be used:\n  A is empty\n  B is {odd}"
