"""Nobody learns by a listing of what they may not see: names of projects, environments, secrets, runs or people."""

from datetime import UTC, datetime, timedelta

import pytest

from executor.api.routes import ROUTES, Route
from executor.operations import connections, secrets, variables
from executor.people import accounts, memberships
from executor.people.principal import operator
from executor.schemas.connections import NewConnection
from executor.schemas.secrets import NewSecret
from executor.schemas.variables import NewVariable
from tests.executor.api.conftest import OPERATOR, House

SEEN = "of-staging"
HIDDEN = "of-default"
"""Part of each name and id that somebody of shop/staging must not come across."""

OWN = {"members.roles", "tokens.list_"}
"""What is about whoever asks, and no place."""


def fill(house: House) -> dict[str, str]:
    """Things of both environments of shop; the ids of their runs."""
    for environment, part in (("default", HIDDEN), ("staging", SEEN)):
        word = part.upper().replace("-", "_")
        soon = datetime.now(UTC) + timedelta(days=1)
        common = {"project": "shop", "environments": (environment,)}
        new = NewSecret(**common, name=f"SECRET_{word}", value=b"correct-horse-battery", expires_at=soon)
        secrets.set_(house.at, OPERATOR, new)
        variables.set_(house.at, OPERATOR, NewVariable(**common, name=f"VAR_{word}", value="1"))
        settings = {"url": {"$secret": f"SECRET_{word}"}}
        made = NewConnection(**common, role="source", name=f"db-{part}", kind="postgres", settings=settings)
        connections.create(house.at, OPERATOR, made)
        accounts.create(house.at.db, f"person-{part}", service=True, actor=OPERATOR)
        place = house.place("shop", environment)
        memberships.give(house.at.db, f"person-{part}", "viewer", place, actor=OPERATOR, by=operator("ada"))
    return {environment: house.run("shop", environment) for environment in ("default", "staging")}


LISTINGS = [
    route
    for route in ROUTES
    if route.method == "GET" and "{" not in route.path.replace("{project}", "") and route.operation not in OWN
]


@pytest.mark.parametrize("role", ["viewer", "maintainer", "admin"])
def test_a_listing_shows_what_lies_where_one_may_see_it(house: House, role: str) -> None:
    """Whoever has a role in shop/staging alone: each listing that answers has nothing of shop/default or of bank."""
    runs = fill(house)
    token = house.token(role, "shop", "staging")
    answered = 0
    for route in LISTINGS:
        answer = house.ask("GET", route.path.replace("{project}", "shop"), token, params=needed(route))
        assert answer.status_code in (200, 204, 403, 404), answer.text
        text = answer.text.lower().replace("_", "-")
        assert HIDDEN not in text and runs["default"] not in text and "bank" not in text, (route.path, answer.text)
        answered += answer.status_code == 200 and (SEEN in text or runs["staging"] in text)
    assert answered >= 4, "it sees its own: secrets, variables, sources, runs, and what is due"


def needed(route: Route) -> dict[str, str]:
    """What a listing has to be asked."""
    far = (datetime.now(UTC) + timedelta(days=90)).isoformat()
    return {
        "secrets.due": {"before": far},
        "pruning.look": {"older_than": "0"},
        "workers.serving": {"queue": "sealrun"},
        "environments.require": {"environments": "staging"},
    }.get(route.operation, {})
