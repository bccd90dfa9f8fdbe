"""People of an installation with two projects, and what they may do."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher
from sqlmodel import select

from executor.people import accounts, memberships, passwords, sessions, tokens
from executor.people.principal import INSTALLATION, Place, Principal, operator
from executor.people.sessions import authenticate_session
from executor.people.tokens import authenticate_token
from secretstore import audit_reading
from secretstore.audit import INSTALLATION as ITS_CHAIN
from secretstore.audit import Actor
from secretstore.database import Database
from secretstore.models import Environment, Project, new_id
from secretstore.views import EventView

ROOT = Actor("root@here", "cli")
PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class People:
    """An installation: projects `shop` and `bank`, each with `dev` and `prod`."""

    db: Database
    places: dict[str, Place]

    def person(self, name: str, *roles: str, service: bool = False, password: str = PASSWORD) -> str:
        """Make somebody with roles, each as `ROLE`, `ROLE PROJECT` or `ROLE PROJECT/ENVIRONMENT`."""
        accounts.create(self.db, name, password=None if service else password, service=service, actor=ROOT)
        for role in roles:
            self.give(name, role)
        return name

    def give(self, name: str, role: str, **more: Any) -> None:
        word, _, place = role.partition(" ")
        memberships.give(self.db, name, word, self.places[place], actor=ROOT, by=operator("root"), **more)

    def take(self, name: str, role: str, **more: Any) -> None:
        word, _, place = role.partition(" ")
        memberships.take(self.db, name, word, self.places[place], actor=ROOT, by=operator("root"), **more)

    def cookie(self, name: str) -> str:
        """A session of somebody, begun without asking for the password."""
        with self.db.writing() as session:
            return sessions.begin(self.db, session, accounts.account_named(session, name).id, "192.0.2.7")

    def logged_in(self, name: str) -> Principal:
        return authenticate_session(self.db, self.cookie(name))

    def token(self, name: str, role: str, place: str = "", days: int = 30) -> str:
        made = tokens.create(self.db, name, "ci", role, self.places[place], days, actor=ROOT, by=operator("root"))
        return made.token

    def by_token(self, name: str, role: str, place: str = "") -> Principal:
        return authenticate_token(self.db, self.token(name, role, place))

    def may(self, who: Principal, verb: Any, place: str) -> bool:
        at = self.places[place]
        return who.may(verb, at.project_id, at.environment_id)

    def age(self, table: Any, **seconds: float) -> None:
        """Let rows be older: each of the named times so many seconds earlier."""
        with self.db.writing() as session:
            for row in session.exec(select(table)).all():
                for column, by in seconds.items():
                    setattr(row, column, getattr(row, column) - timedelta(seconds=by))

    def events(self, project: str = ITS_CHAIN) -> list[EventView]:
        return audit_reading.list_events(self.db, project)


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same algorithm over a hundredth of the memory: these tests are about who gets in."""
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=1, memory_cost=512, parallelism=1))
    passwords._nobodys.cache_clear()
    yield
    passwords._nobodys.cache_clear()


@pytest.fixture
def people(db: Database) -> People:
    places = {"": INSTALLATION}
    with db.writing() as session:
        for name in ("shop", "bank"):
            project = Project(
                id=new_id(), name=name, network="full", sandbox_min="process", max_running=None, created_by="root"
            )
            session.add(project)
            session.flush()
            places[name] = Place(project.id, name)
            for environment in ("dev", "prod"):
                made = Environment(project_id=project.id, name=environment, generation=1, created_by="root")
                session.add(made)
                session.flush()
                places[f"{name}/{environment}"] = Place(project.id, name, made.id, environment)
    return People(db, places)
