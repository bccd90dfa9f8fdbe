"""What is shown: no word broken that a person would copy, and no cursor moved by a name that somebody chose."""

import io
import sys
from dataclasses import replace

import pytest
from sqlalchemy import update

from executor.cli import runs
from executor.cli.shown import screen, waiting
from executor.models import Attempt, Run
from executor.records import history
from executor.schemas.workers import Attended, Serving
from secretstore.database import Database
from tests.executor.conftest import Bench

NAME = "shop\x1b[2J\x1b]0;title\x07\r"
SHOWN = r"shop\x1b[2J\x1b]0;title\x07\r"
PERSON = "ada\x1b[32m\nstate  succeeded\u202e"
SHOWN_PERSON = r"ada\x1b[32m\nstate  succeeded\u202e"


def test_names_in_sentences_and_facts_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """A row of the database may hold any name: our colours stay, what a terminal acts on and lines do not."""
    screen.say(f"project {NAME}\n  in two lines")
    screen.say("/jobs/a\nsealrun: all is well")
    screen.complain(f"no {NAME}", f"hint of {NAME}")
    screen.show(f"\x1b[32mok\x1b[0m  {NAME}\nall is well")
    screen.facts([("key", NAME), ("more", ["a", f"b {NAME}"])])
    out, err = capsys.readouterr()
    assert err == (
        f"project {SHOWN}\n  in two lines\n/jobs/a\\nsealrun: all is well\nsealrun: no {SHOWN}\nhint: hint of {SHOWN}\n"
    )
    assert out == f"\x1b[32mok\x1b[0m  {SHOWN}\\nall is well\nkey   {SHOWN}\nmore  a\n      b {SHOWN}\n"


def test_people_and_machines_are_escaped_wherever_a_run_shows_them(
    sqlite_db: Database, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither our own colours nor a line of its own are theirs to choose; an actor is a claim, a row may be forged."""
    lease = bench.running(sqlite_db)
    with sqlite_db.writing() as session:
        session.execute(update(Run).values(created_by=PERSON, retry_of=PERSON, lease_owner=PERSON))
        session.execute(update(Attempt).values(worker=PERSON))
    view = history.show(sqlite_db, lease.run_id)
    runs._show(replace(view, waiting_for=f"no worker runs on {PERSON}", worker=PERSON, attempts=view.attempts * 2))
    unseen = Serving(PERSON, "sealrun", (), None)
    for attended in (Attended(False, PERSON, True, PERSON, unseen), Attended(False, PERSON, True, None, unseen)):
        screen.say(waiting._sentence(attended, PERSON))
    said = capsys.readouterr()
    assert not {"\x1b", "\u202e"} & {*said.out, *said.err}
    assert "\nstate  succeeded" not in said.out + said.err
    assert said.out.count(SHOWN_PERSON) >= 5
    assert len(said.err.splitlines()) == 2


HEADINGS = ("environment", "fingerprint", "state", "made", "by")
ROW = ("staging", "5cb9466b9e63ea3d", "current", "2026-01-02T03:04:05.678Z", "ada@example")


class Tty(io.StringIO):
    """A screen that remembers."""

    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, columns: int, rows: list[tuple[str, ...]] | None = None) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", Tty())
    screen.table(HEADINGS, rows or [ROW])
    written = sys.stdout.getvalue()  # type: ignore[attr-defined]
    monkeypatch.undo()
    return [line.rstrip() for line in written.splitlines()]


def test_a_moment_is_shown_to_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is room, on one line with all else."""
    assert shown(monkeypatch, 80) == [
        "ENVIRONMENT  FINGERPRINT       STATE    MADE                  BY",
        "staging      5cb9466b9e63ea3d  current  2026-01-02 03:04:05Z  ada@example",
    ]


def test_on_a_narrower_terminal_cells_are_folded_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment is parted into day and time; a fingerprint and a heading stay whole."""
    assert shown(monkeypatch, 64) == [
        "ENVIRONMENT  FINGERPRINT       STATE    MADE         BY",
        "staging      5cb9466b9e63ea3d  current  2026-01-02   ada@example",
        "                                        03:04:05Z",
    ]


def test_what_has_no_room_for_its_words_is_left_to_the_terminal_to_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    """No column is cut off."""
    assert shown(monkeypatch, 40) == shown(monkeypatch, 80)


def test_a_long_word_is_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody reads at a glance does not push the others off the screen."""
    lines = shown(monkeypatch, 80, [(*ROW[:4], "x" * 60)])
    assert all(len(line) <= 80 for line in lines)
    assert "".join(lines).count("x") == 60
