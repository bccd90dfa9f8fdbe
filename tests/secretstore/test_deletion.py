"""The end of a project: deleted for some days, brought back as it was, or destroyed for good."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlmodel import Session, col, select, update

from secretstore import audit_reading, vault
from secretstore.bundle import SealedBundle
from secretstore.database import Database
from secretstore.errors import AlreadyExists, EnvironmentGone, InUse, ProjectDeleted, SecretStoreError, UnknownProject
from secretstore.local_keys import LocalKeys
from secretstore.models import Project
from secretstore.pins import Pins
from secretstore.reveal import reveal
from secretstore.vault import Actor, Birth

Bundled = Callable[..., SealedBundle]
SOON = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def stocked(shop: Database, actor: Actor, pins: Pins) -> Database:
    """The project `shop` with a secret that expires soon, a variable, and a source whose secret is missing."""
    vault.put(shop, "shop", "default", "TOKEN", b"value of token", actor=actor, pins=pins, expires_at=SOON)
    vault.set_variable(shop, "shop", "default", "LEVEL", "debug", actor=actor)
    settings = {"bucket": "b", "credentials": {"$secret": "GONE"}}
    vault.create_connection(shop, "shop", "default", "source", "lake", "s3", settings, actor=actor)
    return shop


def over(db: Database) -> None:
    """The days of every deleted project are over."""
    with db.writing() as session:
        session.exec(update(Project).where(col(Project.destroy_at).is_not(None)).values(destroy_at=db.after(-1)))


def actions(db: Database) -> list[str]:
    return [event.action for event in audit_reading.list_events(db, "shop")]


def rows(db: Database) -> dict[str, int]:
    tables = ("environment", "key_pair", "secret", "secret_version", "variable", "connection")
    with db.reading() as session:
        return {
            table: int(session.execute(text(f"SELECT count(*) FROM secretstore_{table}")).scalar_one())
            for table in tables
        }


def test_of_a_deleted_project_nothing_is_listed_opened_or_stored(
    stocked: Database, actor: Actor, birth: Birth, pins: Pins
) -> None:
    """By name, over all projects, and by an environment's id, as a gate asks. Its name stays taken."""
    here = vault.get_environment(stocked, "shop", "default")
    assert vault.due_secrets(stocked, SOON + timedelta(days=1), 9)[1] == 1 and vault.dangling(stocked)
    deleted = vault.delete_project(stocked, "shop", actor=actor)
    assert (deleted.deleted_by, deleted.destroyed_at) == (actor.name, None)
    assert deleted.deleted_at is not None and deleted.destroy_at == deleted.deleted_at + vault.GRACE
    asked: list[Callable[[], object]] = [
        lambda: vault.get_project(stocked, "shop"),
        lambda: vault.list_secrets(stocked, "shop"),
        lambda: vault.list_keys(stocked, "shop"),
        lambda: vault.dangling(stocked, "shop"),
        lambda: vault.sealing_key(stocked, "shop", "default", pins=pins),
        lambda: vault.put(stocked, "shop", "default", "TOKEN", b"another value", actor=actor, pins=pins),
        lambda: vault.set_project(stocked, "shop", max_running=1, actor=actor),
        lambda: vault.create_project(stocked, "shop", actor=actor, birth=birth),
        lambda: vault.create_environment(stocked, "shop", "prod", actor=actor, birth=birth),
        lambda: vault.delete_project(stocked, "shop", actor=actor),
    ]
    for ask in asked:
        with pytest.raises(ProjectDeleted, match=f"was deleted on .* by {actor.name}") as refused:
            ask()
        assert "sealrun project restore shop" in str(refused.value.hint)
    assert vault.list_projects(stocked) == [] and vault.dangling(stocked) == []
    assert vault.due_secrets(stocked, SOON + timedelta(days=1), 9) == ([], 0)
    with pytest.raises(EnvironmentGone), stocked.writing() as session:
        vault.sealed_bundle(session, here.id, None)
    with pytest.raises(ProjectDeleted), stocked.writing() as session:
        vault.require_living(session, here.project_id)
    assert vault.list_projects(stocked, deleted=True) == [deleted]


def test_it_comes_back_as_it_was(stocked: Database, actor: Actor, keys: LocalKeys, bundled: Bundled) -> None:
    """With every value; what was moved to another key service meanwhile is part of that, so keys are rewrapped."""
    before, there = vault.list_secrets(stocked, "shop"), rows(stocked)
    vault.delete_project(stocked, "shop", actor=actor)
    assert len(vault.keys_to_rewrap(stocked)) == 2 and vault.keys_kept(stocked)
    assert vault.destroy_due(stocked, actor=actor) == []
    back = vault.restore_project(stocked, "shop", actor=actor)
    assert (back.deleted_at, back.deleted_by, back.destroy_at) == (None, None, None)
    assert (vault.list_secrets(stocked, "shop"), rows(stocked)) == (before, there)
    assert [(item.name, value) for item, value in reveal(keys, bundled(stocked))] == [("TOKEN", b"value of token")]
    assert actions(stocked)[-2:] == ["project.delete", "project.restore"]
    with pytest.raises(AlreadyExists, match="is not deleted"):
        vault.restore_project(stocked, "shop", actor=actor)
    with pytest.raises(UnknownProject, match='no project "toys"'):
        vault.restore_project(stocked, "toys", actor=actor)


def test_when_its_days_are_over_it_is_destroyed_once(stocked: Database, actor: Actor, birth: Birth) -> None:
    """I2: keys and values are gone, ids stay used; the record says when, and the chain is as it was written."""
    project_id = vault.get_project(stocked, "shop").id
    janitor = Actor("worker", "worker")
    with stocked.writing() as session:
        session.exec(update(Project).values(destroy_at=stocked.after(-1)))
    assert vault.destroy_due(stocked, actor=janitor) == [], "one that is not deleted, whatever its row says"
    vault.delete_project(stocked, "shop", actor=actor)
    over(stocked)
    (destroyed,) = vault.destroy_due(stocked, actor=janitor)
    assert destroyed.destroyed_at is not None and vault.destroy_due(stocked, actor=janitor) == []
    assert set(rows(stocked).values()) == {0} and not vault.keys_kept(stocked)
    last = audit_reading.list_events(stocked, "shop")[-1]
    assert (last.action, last.actor) == ("project.destroy", "worker")
    assert last.detail == '{"environments": 2, "key_pairs": 2, "secrets": 1}'
    assert audit_reading.verify(stocked, "shop").ok
    with pytest.raises(ProjectDeleted, match="was destroyed on"):
        vault.restore_project(stocked, "shop", actor=actor)
    again = vault.create_project(stocked, "shop", actor=actor, birth=birth)
    assert again.id != project_id
    assert audit_reading.verify(stocked, "shop").project_id == again.id, "the head is of the one that has the name"
    assert [found.id for found in vault.list_projects(stocked, deleted=True)] == [project_id]
    vault.delete_project(stocked, "shop", actor=actor)
    over(stocked)
    assert len(vault.destroy_due(stocked, actor=janitor)) == 1, "a second one of the name, too"


def test_what_refuses_destruction_keeps_it_and_not_the_others(shop: Database, actor: Actor, birth: Birth) -> None:
    """It is asked under the locks; the next look tries again."""
    vault.create_project(shop, "toys", actor=actor, birth=birth)
    for name in ("shop", "toys"):
        vault.delete_project(shop, name, actor=actor)
    over(shop)

    def refuse_if(name: str) -> vault.RefuseIf:
        def refuse(_: Session, project_id: str, environment_id: str | None) -> None:
            if name == "shop":
                raise InUse(what=name)

        return refuse

    skipped: list[str] = []
    found = vault.destroy_due(shop, actor=actor, refuse_if=refuse_if, skipped=lambda name, _: skipped.append(name))
    assert ([project.name for project in found], skipped) == (["toys"], ["shop"])
    assert [project.name for project in vault.destroy_due(shop, actor=actor)] == ["shop"]


def test_a_protected_project_stays_with_all_its_environments(shop: Database, actor: Actor) -> None:
    """Until somebody says that it may go; a deleted one cannot be destroyed by the way of a protection left on."""
    vault.set_project(shop, "shop", protected=True, actor=actor)
    before = rows(shop)
    asked: list[Callable[[], object]] = [
        lambda: vault.delete_project(shop, "shop", actor=actor),
        lambda: vault.destroy_project(shop, "shop", actor=actor),
        lambda: vault.delete_environment(shop, "shop", "staging", actor=actor),
        lambda: vault.require_deletable(shop, "shop"),
    ]
    for ask in asked:
        with pytest.raises(InUse, match="is protected from deletion"):
            ask()
    assert rows(shop) == before
    changed = vault.set_project(shop, "shop", protected=False, actor=actor)
    assert not changed.protected and changed.max_running is None
    vault.delete_project(shop, "shop", actor=actor)


def test_a_rotation_that_is_under_way_writes_nothing_into_it(shop: Database, actor: Actor, birth: Birth) -> None:
    """Nor does who made a key pair for a new environment while it was deleted."""

    def slow(place: object, generation: int) -> object:
        vault.delete_project(shop, "shop", actor=actor)
        return birth(place, generation)  # type: ignore[arg-type]

    with pytest.raises(SecretStoreError, match="was deleted"):
        vault.create_environment(shop, "shop", "prod", actor=actor, birth=slow)  # type: ignore[arg-type]
    with shop.reading() as session:
        assert session.exec(select(Project.deleted_by)).one() == actor.name
    assert rows(shop)["environment"] == 2
