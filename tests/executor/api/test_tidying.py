"""What has expired is deleted by a server, at its start and again."""

from datetime import timedelta

import pytest
from sqlmodel import select, update

from executor.api.tidying import tidying
from executor.operations import pruning
from executor.people.tables import Link
from secretstore import vault
from secretstore.database import utc_now
from secretstore.errors import DatabaseUnavailable
from secretstore.models import SecretReservation
from tests.executor.api.conftest import OPERATOR, House
from tests.processes import eventually


def expired(house: House) -> None:
    """A link, and a reservation, that were good until yesterday."""
    yesterday = utc_now() - timedelta(days=1)
    vault.reserve(house.at.db, "shop", ("default",), ("KEY",), actor=OPERATOR)
    with house.at.db.writing() as session:
        session.add(Link(digest="d", purpose="first-admin", expires_at=yesterday))
        session.exec(update(SecretReservation).values(expires_at=yesterday))


def left(house: House) -> int:
    with house.at.db.reading() as session:
        return len(session.exec(select(Link)).all()) + len(session.exec(select(SecretReservation)).all())


@pytest.mark.long
def test_it_goes_at_the_start_and_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of people, and what was reserved and never sealed; a database that is away for once ends nothing."""
    expired(house)
    with tidying(house.at, every=3600):
        eventually(lambda: left(house) == 0, 30, "it is gone at the start")
    expired(house)
    real, asked = pruning.forget_expired, []

    def away_first(*given: object) -> int:
        asked.append(given)
        if len(asked) == 1:
            raise DatabaseUnavailable(url="sqlite://")
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(pruning, "forget_expired", away_first)
    with tidying(house.at, every=0.01):
        eventually(lambda: left(house) == 0, 30, "it is gone at the next look")


def test_what_it_did_not_foresee_is_told_by_kind_and_place(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """I10: the text of a driver's error may quote a row, or a URL with its password."""

    def fails(*given: object) -> int:
        raise RuntimeError("postgresql://sealrun:correct-horse-battery@db/sealrun")

    monkeypatch.setattr(pruning, "forget_expired", fails)
    with tidying(house.at, every=3600):
        eventually(lambda: "RuntimeError" in caplog.text, 30, "it is told")
    assert "test_tidying.py" in caplog.text and "correct-horse" not in caplog.text
