"""Pages of listings: each item once, whoever asks, in an order that no server's language changes."""

import pytest

from secretstore import vault
from secretstore.pins import Pins
from tests.executor.api.conftest import OPERATOR, House

pytestmark = pytest.mark.long


def _names(house: House, token: str, limit: int) -> list[list[str]]:
    """The pages of the secrets of shop."""
    pages: list[list[str]] = []
    cursor: str | None = None
    while True:
        more = {"limit": limit} | ({} if cursor is None else {"cursor": cursor})
        answer = house.ask("GET", "/projects/shop/secrets", token, params=more)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        pages.append([f"{one['environment']}/{one['name']}" for one in page["items"]])
        if (cursor := page["next"]) is None:
            return pages


def test_secrets_come_in_pages_of_what_is_seen(house: House) -> None:
    """Who may see one environment is given full pages of it; an admin all, by bytes."""
    names = ["A", "A_B", "AB", "Z", "_X"]
    pins = Pins(house.at.settings.store.home / "pins", "here")
    for environment in ("default", "staging"):
        for name in names:
            vault.put(house.at.db, "shop", environment, name, b"v" * 20, actor=OPERATOR, pins=pins)
    whole = [f"{environment}/{name}" for environment in ("default", "staging") for name in sorted(names)]
    assert _names(house, house.token("admin"), 100) == [whole]
    assert _names(house, house.token("admin"), 4) == [whole[:4], whole[4:8], whole[8:]]
    assert _names(house, house.token("viewer", "shop", "staging"), 2) == [whole[5:7], whole[7:9], whole[9:]]
