"""What is shown: no word broken that a person would copy, and no cursor moved by a name that somebody chose."""

import io
import sys

import pytest

from executor.cli.shown import screen

NAME = "shop\x1b[2J\x1b]0;title\x07\r"
SHOWN = r"shop\x1b[2J\x1b]0;title\x07\r"


def test_names_in_sentences_and_facts_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """A row of the database may hold any name: our lines and colours stay, and what a terminal acts on does not."""
    screen.say(f"project {NAME}\nin two lines")
    screen.complain(f"no {NAME}", f"hint of {NAME}")
    screen.show(f"\x1b[32mok\x1b[0m  {NAME}")
    screen.facts([("key", NAME), ("more", f"a\nb {NAME}")])
    out, err = capsys.readouterr()
    assert err == f"project {SHOWN}\nin two lines\nsealrun: no {SHOWN}\nhint: hint of {SHOWN}\n"
    assert out == f"\x1b[32mok\x1b[0m  {SHOWN}\nkey   {SHOWN}\nmore  a\n      b {SHOWN}\n"


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
