"""A key pair that nobody knows yet, offered over a network: somebody compares, or nothing is sealed."""

import pytest
import typer

from executor.cli import first_use
from secretstore.errors import KeyUnknown
from secretstore.pin import Pin

ASKED = "shop", "prod", "https://sealrun.example", Pin("1" * 32, "2" * 32, 3, "0f" * 32)


def test_on_a_terminal_it_is_shown_and_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server, the place and the whole fingerprint, on stderr; no is an end."""
    monkeypatch.setattr(first_use, "has_terminal", lambda: True)
    answers = iter([True, False])

    def confirm(question: str, *, abort: bool, err: bool) -> None:
        assert abort and err
        if not next(answers):
            raise typer.Abort

    monkeypatch.setattr(typer, "confirm", confirm)
    first_use.compare_first(*ASKED)
    shown = capsys.readouterr()
    assert shown.out == "" and all(word in shown.err for word in ("https://sealrun.example", "shop/prod", "0f" * 32))
    with pytest.raises(typer.Abort):
        first_use.compare_first(*ASKED)


def test_without_one_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """I2: a pipeline that nobody watches seals to no key pair that it was not told of."""
    monkeypatch.setattr(first_use, "has_terminal", lambda: False)
    with pytest.raises(KeyUnknown, match="0f" * 32) as refused:
        first_use.compare_first(*ASKED)
    assert "SEALRUN_PIN" in str(refused.value.hint)
