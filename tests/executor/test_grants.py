"""What each role of the database may do: the real paths under it go through, and what is not its part is refused."""

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import MetaData, make_url, text
from typer.testing import CliRunner

from executor import database, grants, models
from executor import runs as lifecycle
from executor.cli.migrate import app
from executor.errors import GrantsRefused
from executor.operations import (
    audit,
    connections,
    environments,
    members,
    people,
    projects,
    pruning,
    runs,
    tokens,
    variables,
)
from executor.operations import secrets as secret_operations
from executor.operations.deployment import Deployment
from executor.people.principal import operator
from executor.records import history
from executor.records.live import refuse_live
from executor.runs import output
from executor.runs.spec import Hit
from executor.schemas.audit import Chain, Events
from executor.schemas.connections import ConnectionDeletion, NewConnection
from executor.schemas.output import Piece
from executor.schemas.people import Member, NewAccount, NewToken
from executor.schemas.places import InEnvironment, Named
from executor.schemas.projects import NewProject, ProjectChange, ProjectDeletion, ProjectNamed
from executor.schemas.pruning import OldRuns
from executor.schemas.run_operations import ThatAttempt, ThatRun, ThoseRuns
from executor.schemas.run_request import RunRequest
from executor.schemas.secrets import NewSecret, Rollback, SecretDeletion
from executor.schemas.target import Target
from executor.schemas.variables import NewVariable
from executor.settings import read_settings
from executor.worker import janitor
from secretstore import audit as store_audit
from secretstore import models as store_models
from secretstore import vault
from secretstore.audit import Actor
from secretstore.database import Database, utc_now
from secretstore.errors import DatabaseForbids
from tests.conftest import empty_database
from tests.databases import driver
from tests.executor.conftest import Bench

WHO = operator("ada@example").as_actor("api")


@dataclass
class Roles:
    """A migrated database with three roles, and a user in each."""

    owner: Database
    named: Mapping[str, str]
    urls: Mapping[str, str]
    home: Path

    def at(self, part: str) -> Deployment:
        """As somebody comes to it who is in this role."""
        urls = {"SEALRUN_DATABASE_URL": self.urls[part], "SEALRUN_BROKER_URL": "redis://127.0.0.1:1/0"}
        return Deployment.open(read_settings({"SEALRUN_HOME": str(self.home), **urls}))

    def __getitem__(self, part: str) -> Database:
        return Database(self.urls[part])


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roles]:
    mark = secrets.token_hex(4)
    with empty_database() as url, contextlib.ExitStack() as ending:
        owner = Database(driver(url))
        ending.callback(owner.close)
        database.migrate(owner)
        named = {part: f"test-{mark}-{part}" for part in grants.ROLES}
        users = {part: f"test-{mark}-user-{part}" for part in grants.ROLES}
        grants.grant(owner, named)
        ending.callback(_drop, owner, [*users.values(), *named.values()])
        with owner.writing() as session:
            for part, user in users.items():
                session.execute(text(f'CREATE USER "{user}" PASSWORD \'only-for-a-test\' IN ROLE "{named[part]}"'))
        place = make_url(owner.engine.url)
        urls = {part: place.set(username=user, password="only-for-a-test") for part, user in users.items()}
        shown = {part: one.render_as_string(hide_password=False) for part, one in urls.items()}
        yield Roles(owner, named, shown, tmp_path_factory.mktemp("home"))


def _drop(owner: Database, names: list[str]) -> None:
    """Roles are the server's, not the database's: they would stay."""
    with owner.writing() as session:
        for name in names:
            session.execute(text(f'DROP OWNED BY "{name}"'))
            session.execute(text(f'DROP ROLE "{name}"'))


def test_every_table_has_its_entry(roles: Roles) -> None:
    """A new table is decided upon: who may do what to it, and why."""
    there = MetaData()
    there.reflect(roles.owner.engine)
    assert there.tables.keys() == grants.GRANTS.keys()
    modelled = {*models.metadata.tables, *store_models.SQLModel.metadata.tables}
    assert modelled <= grants.GRANTS.keys()
    assert all(rights.why for rights in grants.GRANTS.values())


def test_again_changes_nothing_and_takes_away_what_was_given_beside(roles: Roles) -> None:
    """It can be repeated at any time; whatever else a role had is gone."""
    before = _rights(roles)
    with roles.owner.writing() as session:
        session.execute(text(f'GRANT DELETE ON secretstore_audit_event TO "{roles.named["server"]}"'))
        session.execute(text(f'GRANT UPDATE (sealed) ON secretstore_secret_version TO "{roles.named["worker"]}"'))
    assert _rights(roles) != before
    done = grants.grant(roles.owner, roles.named)
    assert _rights(roles) == before and not any("CREATE ROLE" in one for one in done)
    assert grants.shown(roles.owner, roles.named) == done


def test_the_command_shows_the_statements_first(roles: Roles) -> None:
    """`--sql` changes nothing; each statement is a line that psql takes."""
    words = [word for part, name in roles.named.items() for word in (f"--{part}-role", name)]
    url = roles.owner.engine.url.render_as_string(hide_password=False)
    environ = {"SEALRUN_HOME": str(roles.home), "SEALRUN_DATABASE_URL": url.replace("+psycopg", "")}

    def migrate(*more: str) -> str:
        done = CliRunner().invoke(app, ["--grants", *words, *more], env=environ)
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    shown = migrate("--sql").splitlines()
    assert shown == [f"{one};" for one in grants.shown(roles.owner, roles.named)]
    assert json.loads(migrate("--json"))["grants"] == [one.removesuffix(";") for one in shown]


def _rights(roles: Roles) -> object:
    whose = "grantee LIKE 'test-%' AND grantee IN (:worker, :server, :auditor)"
    with roles.owner.reading() as session:
        return [
            session.execute(
                text(f"SELECT {what} FROM information_schema.{view} WHERE {whose} ORDER BY {what}"), roles.named
            ).all()
            for view, what in (
                ("table_privileges", "grantee, table_name, privilege_type"),
                ("column_privileges", "grantee, table_name, column_name, privilege_type"),
            )
        ]


FORBIDDEN = {
    "worker": (
        "INSERT INTO executor_run DEFAULT VALUES",
        "UPDATE secretstore_connection SET settings = '{}'",
        "UPDATE secretstore_variable SET value = ''",
        "INSERT INTO secretstore_secret DEFAULT VALUES",
        "UPDATE secretstore_environment SET project_id = ''",
        "INSERT INTO executor_job DEFAULT VALUES",
        "DELETE FROM executor_job_receipt",
        "UPDATE secretstore_audit_event SET actor = ''",
        "DELETE FROM secretstore_audit_event",
        "DELETE FROM executor_receipt",
        "SELECT 1 FROM executor_account",
        "SELECT 1 FROM executor_token",
    ),
    "server": (
        "UPDATE secretstore_audit_event SET actor = ''",
        "DELETE FROM secretstore_audit_event",
        "DELETE FROM secretstore_audit_waiting",
        "UPDATE executor_receipt SET status = ''",
        "INSERT INTO executor_receipt DEFAULT VALUES",
        "DELETE FROM executor_receipt_secret",
        "UPDATE secretstore_key_pair SET wrapped_private_key = NULL",
        "DELETE FROM secretstore_key_pair",
        "DELETE FROM secretstore_environment",
        "DELETE FROM executor_run",
        "UPDATE executor_job SET state = ''",
        "INSERT INTO executor_log_chunk DEFAULT VALUES",
        "TRUNCATE executor_receipt",
        "DROP TABLE executor_receipt",
    ),
    "auditor": (
        "SELECT 1 FROM secretstore_secret_version",
        "SELECT 1 FROM secretstore_key_pair",
        "SELECT 1 FROM executor_log_chunk",
        "SELECT 1 FROM executor_run",
        "INSERT INTO secretstore_audit_event DEFAULT VALUES",
        "DELETE FROM executor_receipt",
    ),
}


@pytest.mark.parametrize("part", FORBIDDEN)
def test_what_is_not_its_part_is_refused(roles: Roles, part: str) -> None:
    """With a sentence that names the table."""
    db = roles[part]
    for statement in FORBIDDEN[part]:
        with pytest.raises(DatabaseForbids, match=r"permission denied|must be owner"), db.writing() as session:
            session.execute(text(statement))
    db.close()


def test_what_a_server_does_goes_through(roles: Roles, tmp_path: Path) -> None:
    """Project to run, as the server's role: made, changed, sealed, listed, submitted, cancelled, pruned, deleted."""
    at = roles.at("server")
    place = {"project": "shop", "environments": ("default",)}
    named = {"project": "shop", "environment": "default"}
    projects.create(at, WHO, NewProject(name="shop", environments=("staging",)))
    projects.set_(at, WHO, ProjectChange(name="shop", max_running=2))
    for value in (b"correct-horse", b"battery-staple"):
        secret_operations.set_(at, WHO, NewSecret(**place, name="KEY", value=value))
    secret_operations.rollback(at, WHO, Rollback(**named, name="KEY", to=1))
    secret_operations.set_(at, WHO, NewSecret(**place, name="GONE", value=b"correct-horse"))
    secret_operations.delete(at, WHO, SecretDeletion(**named, name="GONE"))
    variables.set_(at, WHO, NewVariable(**place, name="STAGE", value="prod"))
    variables.delete(at, WHO, Named(**named, name="STAGE"))
    lake = {"role": "source", "name": "lake"}
    connections.create(at, WHO, NewConnection(**place, **lake, kind="s3", settings={"bucket": "raw"}))
    connections.create(at, WHO, NewConnection(**place, **lake, kind="s3", settings={"bucket": "in"}, replace=True))
    connections.delete(at, WHO, ConnectionDeletion(**named, **lake))
    job = tmp_path / "source" / "job.py"
    job.parent.mkdir()
    job.write_text("print(1)")
    asked = RunRequest(target=Target(kind="file", path=str(job)), folder=job.parent, project="shop", bundle=True)
    ids = [runs.accept(at, WHO, runs.prepare(at, WHO, asked)).run_id for _ in range(2)]
    assert {one.door for one in runs.list_(at, WHO, ThoseRuns(project="shop"))} == {"api"}
    runs.cancel(at, WHO, ThatRun(run=ids[0]))
    runs.accept(at, WHO, runs.prepare_again(at, WHO, ThatRun(run=ids[0])))
    pruning.prune(at, WHO, OldRuns(older_than=0, project="shop"))
    assert runs.show(at, WHO, ThatAttempt(run=ids[0])).pruned_by == WHO.name
    assert audit.verify(at, WHO, Chain(project="shop")).found.first_bad is None
    projects.delete(at, WHO, ProjectDeletion(name="shop"))
    projects.restore(at, WHO, ProjectNamed(name="shop"))
    people.create(at, WHO, NewAccount(name="ci", service=True))
    members.add(at, WHO, Member(name="ci", role="runner", project="shop"))
    tokens.create(at, WHO, NewToken(name="nightly", owner="ci", role="runner", project="shop"))
    pruning.forget_expired(at, WHO)
    job = environments.delete(at, WHO, InEnvironment(project="shop", environment="staging")).job
    assert job is not None and [one.name for one in vault.list_environments(at.db, "shop")] == ["default", "staging"]
    for _ in range(2):  # deleted, or deleted already: what is due is destroyed by a worker
        assert projects.delete(at, WHO, ProjectDeletion(name="shop", now=True)).destroy_at is not None
    assert projects.destroy_due(at, WHO) == ()
    at.close()
    worker = roles["worker"]
    assert janitor.destroy_deleted(worker, Actor("w1", "worker")) == 1
    with pytest.raises(DatabaseForbids):
        janitor.forget_expired(worker)
    with pytest.raises(DatabaseForbids):
        janitor.delete_reservations(worker)
    worker.close()


def test_a_worker_deletes_an_environment_for_the_server(roles: Roles) -> None:
    """Its keys with it, by what its role may."""
    at, db = roles.at("server"), roles["worker"]
    projects.create(at, WHO, NewProject(name="yard", environments=("staging",)))
    place = vault.get_environment(at.db, "yard", "staging")
    vault.delete_environment(db, "yard", "staging", actor=WHO, refuse_if=refuse_live("yard", "staging"))
    with roles.owner.reading() as session:
        left = text("SELECT count(*) FROM secretstore_key_pair WHERE environment_id = :id")
        assert session.execute(left, {"id": place.id}).scalar_one() == 0
    projects.delete(at, WHO, ProjectDeletion(name="yard"))
    at.close()
    db.close()


def test_an_auditor_reads_what_was_done(roles: Roles) -> None:
    """The chain of events, verified; and nothing of people or values."""
    with roles.owner.writing() as session:
        row = {"project_id": "p9", "project": "toys", "at": utc_now(), "actor": "ada", "origin": "api"}
        event = {"action": "project.create", "subject": "toys", "detail": "{}", "outcome": "done"}
        store_audit._link(session, "p9", [row | event])
    at = roles.at("auditor")
    assert len(audit.list_(at, WHO, Events(project="toys")).events) == 1
    assert audit.verify(at, WHO, Chain(project="toys")).found.first_bad is None
    at.close()


def test_what_a_worker_does_with_a_run_goes_through(roles: Roles, bench: Bench) -> None:
    """Submitted by the server, claimed, let through the gate with a receipt, printed, masked, ended, tried again."""
    server, worker = roles["server"], roles["worker"]
    run_id = bench.create(server, retries=1)
    for code in (3, 0):
        lease = bench.claim(worker, run_id)
        bench.through(worker, lease, bench.bundle("KEY"))
        lifecycle.renew(worker, lease, held_up="waits")
        output.append(worker, lease, [Piece(1, "stdout", utc_now(), b"***")])
        hit = Hit("KEY", "stdout", "plain", 1)
        ended = {"exit_code": code, "result": 1, "masked": [hit], "opened_at": utc_now(), "dropped_at": utc_now()}
        state, reason = ("failed", "exit_code") if code else ("succeeded", None)
        lifecycle.finish(worker, lease, lifecycle.Outcome(state, reason, **ended))
        bench.due(roles.owner, run_id)
    assert history.show(server, run_id).state == "succeeded"
    worker.close()
    server.close()


def test_what_a_worker_does_beside_runs_goes_through(roles: Roles) -> None:
    """Its janitor's part: what is lost, old, unused, deleted long enough ago, or waits to be linked."""
    at = roles.at("server")
    projects.create(at, WHO, NewProject(name="past"))
    secret_operations.set_(
        at, WHO, NewSecret(project="past", environments=("default",), name="KEY", value=b"c0rrect-h")
    )
    projects.delete(at, WHO, ProjectDeletion(name="past"))
    at.close()
    with roles.owner.writing() as session:
        session.execute(
            text("UPDATE secretstore_project SET destroy_at = now() - interval '1 day' WHERE name = 'past'")
        )
        old = "now() - interval '9 days'"
        session.execute(
            text(
                "INSERT INTO executor_source_bundle (project_id, digest, size, files, complete, created_at, used_at)"
                f" VALUES ('p', 'd', 1, 1, true, {old}, {old})"
            )
        )
    db, actor = roles["worker"], Actor("w1", "worker")
    assert janitor.destroy_deleted(db, actor) == 1
    assert janitor.delete_unused_bundles(db) == 1
    janitor.destroy_unused_keys(db, actor)
    janitor.delete_old(db, 0, actor)
    janitor.settle_lost(db)
    janitor.end_unserved(db, 1, 1)
    janitor.link_audit(db)
    db.close()


def test_a_file_has_no_roles(sqlite_db: Database) -> None:
    with pytest.raises(GrantsRefused):
        grants.grant(sqlite_db, dict(zip(grants.ROLES, grants.ROLES, strict=True)))


def test_two_parts_are_two_roles(roles: Roles) -> None:
    with pytest.raises(GrantsRefused, match="are one"):
        grants.shown(roles.owner, {"worker": "a", "server": "a", "auditor": "b"})
