"""Data sources and catalogs: who made them, what keeps them, and what is kept of a test."""

import pytest

from executor.operations import connections, environments, probing
from executor.schemas.connections import ConnectionDeletion, ConnectionNamed, Connections, NewConnection
from executor.schemas.places import InEnvironments
from secretstore.connections import Role
from secretstore.errors import AlreadyExists, ConnectionRefused, InUse, UnknownConnection, UnknownEnvironment
from tests.executor.operations.conftest import WHO, Shop


def source(name: str = "lake", **settings: object) -> NewConnection:
    given: dict[str, object] = {"bucket": "b", "credentials": {"$secret": "KEYS"}}
    return NewConnection(
        project="shop", environments=("default",), role="source", name=name, kind="s3", settings=given | settings
    )


def catalog(on: str) -> NewConnection:
    settings = {"endpoint": "http://127.0.0.1:9", "source": on}
    return NewConnection(
        project="shop", environments=("default",), role="catalog", name="main", kind="iceberg-rest", settings=settings
    )


def named(role: Role, name: str) -> ConnectionNamed:
    return ConnectionNamed(project="shop", environment="default", role=role, name=name)


def deletion(role: Role, name: str, force: bool = False) -> ConnectionDeletion:
    return ConnectionDeletion(project="shop", environment="default", role=role, name=name, force=force)


def test_who_asks_stands_in_the_record(shop: Shop) -> None:
    """Of what is made, tested and deleted, as passed in."""
    connections.create(shop.at, WHO, source())
    probing.begin(shop.at, WHO, named("source", "lake"))
    connections.delete(shop.at, WHO, deletion("source", "lake"))
    events = shop.events()[3:]
    assert [event.action for event in events] == ["source.create", "source.test", "source.delete"]
    assert {(event.actor, event.origin) for event in events} == {(WHO.name, WHO.origin)}


def test_what_is_refused_leaves_nothing(shop: Shop) -> None:
    """Settings that break a rule, a name that is taken, a source that a catalog names."""
    connections.create(shop.at, WHO, source())
    connections.create(shop.at, WHO, catalog("lake"))
    before = shop.events()
    with pytest.raises(ConnectionRefused):
        connections.create(shop.at, WHO, source("other", nonsense="x"))
    with pytest.raises(AlreadyExists):
        connections.create(shop.at, WHO, source())
    for refused in (connections.require_deletable, connections.delete):
        with pytest.raises(InUse):
            refused(shop.at, WHO, deletion("source", "lake"))
        with pytest.raises(UnknownConnection):
            refused(shop.at, WHO, deletion("catalog", "lake"))
    assert shop.events() == before
    connections.delete(shop.at, WHO, deletion("source", "lake", force=True))
    assert [view.name for view in connections.list_(shop.at, WHO, Connections(project="shop"))] == ["main"]


def test_a_role_that_goes_is_noted(shop: Shop) -> None:
    """The keys it was assumed with are a variable of runs again."""
    connections.create(shop.at, WHO, source(assume_role="arn:aws:iam::123456789012:role/lake"))
    (note,) = connections.delete(shop.at, WHO, deletion("source", "lake")).notes
    assert note.startswith("no role is assumed with KEYS any more")


def test_what_is_missing_is_known_without_a_run(shop: Shop) -> None:
    """It is kept as any other outcome; once nothing is missing, a run has to tell."""
    connections.create(shop.at, WHO, source())
    tested = probing.begin(shop.at, WHO, named("source", "lake")).tested
    assert tested is not None
    assert (tested.ok, tested.run, tested.kept) == (False, None, True)
    assert tested.said == "no call was made: credentials names the secret KEYS, which is not there"
    assert connections.get(shop.at, WHO, named("source", "lake")).test_message == tested.said


def test_one_is_made_in_each_of_several_environments_or_in_none(shop: Shop) -> None:
    """As `-e staging -e default` asks; which one has it already is said."""
    environments.ensure(shop.at, WHO, InEnvironments(project="shop", environments=("staging", "prod")))
    asked = source().model_copy(update={"environments": ("staging", "default", "staging")})
    assert [made.environment for made in connections.create(shop.at, WHO, asked)] == ["staging", "default"]
    for names in (("prod", "default"), ("prod", "nowhere")):
        with pytest.raises((AlreadyExists, UnknownEnvironment)) as refused:
            connections.create(shop.at, WHO, asked.model_copy(update={"environments": names}))
        assert names[1] in f"{refused.value} {refused.value.hint}"
    found = connections.list_(shop.at, WHO, Connections(project="shop"))
    assert sorted(view.environment for view in found) == ["default", "staging"]
