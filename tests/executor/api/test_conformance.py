"""The API does what its description says, whatever it is sent: no fault of the server's, and no answer undeclared.

What is sent is made of the description by schemathesis, right and wrong, for places that are there and that are not,
by people of every role. PostgreSQL, since it refuses more than SQLite does.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings, strategies
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from starlette.testclient import TestClient

from executor import database
from executor.api.application import Origin, create_application
from executor.api.routes import BASE, ROUTES
from executor.people.roles import ROLES
from secretstore.database import Database
from tests import databases
from tests.conftest import postgres_server
from tests.effort import FULL
from tests.executor.api.conftest import House, deployment_of

pytestmark = pytest.mark.long

HOST = "testserver"
EXAMPLES = 200 if FULL else 3
"""Requests of each operation, some that fit and some that do not."""

# What ends what the others need: they are asked of places that are not there, or elsewhere among these tests.
ENDING = {"projects.delete", "environments.delete", "me.log-out", "tokens.revoke"}
STREAMS = {"runs.follow"}
OPERATIONS = [route.name for route in ROUTES if route.name not in ENDING | STREAMS]

# A name that no project may have, a role that there is not: what a description does not tell of what is asked for.
RULES = ["2xx", "3xx", "400", "401", "403", "404", "409", "410", "413", "422", "429", "503"]


@dataclass
class Described:
    """An API, its description, a token of each role, and what its places are called."""

    schema: Any
    tokens: list[str]
    there: dict[str, str]

    def send(self, case: Case, *, known: bool) -> None:
        """Send a request as one of them; `known` says that what the path names is there."""
        if known:
            case.path_parameters = dict(case.path_parameters or {}) | {
                name: self.there[name] for name in case.path_parameters or {} if name in self.there
            }
        token = self.tokens[crc32(case.as_curl_command().encode()) % len(self.tokens)]
        headers = {"Authorization": f"Bearer {token}"}
        answer = case.call(headers=headers)
        refused = [CHECKS.get_one("negative_data_rejection")] if known else []
        case.validate_response(answer, excluded_checks=[*refused, CHECKS.get_one("ignored_auth")], headers=headers)


@pytest.fixture(scope="module")
def described() -> Iterator[Described]:
    """A deployment of which everything that a path may name is there."""
    load_all_checks()
    with contextlib.ExitStack() as open_:
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory()))
        url = open_.enter_context(databases.migrated("postgresql", folder, postgres_server, database.migrate))
        at = deployment_of(Database(url), folder / "home")
        open_.callback(at.close)
        app = create_application(at, Origin(f"http://{HOST}", frozenset({HOST})))
        house = House(at, TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False))
        run, _ = house.ran("shop", "default", b"hello")
        roles = [house.token(role) for role in ROLES] + [house.token("admin")] * len(ROLES)
        checks = {"checks": {"positive_data_acceptance": {"expected-statuses": RULES}}}
        config = schemathesis.Config.from_dict(checks)
        schema = schemathesis.openapi.from_asgi(f"{BASE}/openapi.json", app, config=config)
        there = {"project": "shop", "environment": "default", "run": run, "path": "report.csv"}
        yield Described(schema, roles, there)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_it_does_what_its_description_says(described: Described, operation: str) -> None:
    """No 5xx, no undeclared status, type or header; what does not fit is refused, what fits is not but by a rule."""
    found = described.schema.find_operation_by_id(operation)
    modes = [found.as_strategy(generation_mode=mode) for mode in GenerationMode]

    @settings(
        max_examples=EXAMPLES,
        derandomize=not FULL,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategies.one_of(*modes), known=strategies.booleans())
    def send(case: Case, known: bool) -> None:
        described.send(case, known=known)

    send()
