"""People, members and tokens, as a door asks for them; and what of runs and connections depends on who asks."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from argon2 import PasswordHasher

from executor.errors import CredentialAsked, Forbidden, RequestUnclear, Unauthenticated, UnknownAccount
from executor.models import Result
from executor.operations import audit, connections, members, people, tokens
from executor.operations import runs as operations
from executor.operations.admission import admit
from executor.operations.deployment import Deployment
from executor.operations.rights import RIGHTS, Place
from executor.people import passwords
from executor.people.logging_in import log_in
from executor.people.places import find_place
from executor.people.principal import KnownActor, operator
from executor.people.reads import record_read
from executor.people.roles import Verb
from executor.people.sessions import authenticate_session
from executor.people.tables import BrowserSession
from executor.people.tokens import authenticate_token
from executor.schemas.audit import Chain, Events
from executor.schemas.connections import NewConnection
from executor.schemas.people import (
    AccountNamed,
    Member,
    Members,
    NewAccount,
    NewPassword,
    NewToken,
    TokenNamed,
    Tokens,
)
from executor.schemas.run_operations import OutputOf, ThatAttempt, ThatRun, ThoseRuns
from secretstore import vault
from secretstore.audit import Actor, link_waiting
from secretstore.errors import ProjectDeleted, UnknownProject
from tests.executor.conftest import Bench
from tests.executor.operations.conftest import Shop

ROOT = Actor("root@here", "cli")
PASSWORD = "correct horse battery"
As = Callable[..., KnownActor]


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same algorithm over a hundredth of the memory: these tests are about who may do what."""
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=1, memory_cost=512, parallelism=1))
    passwords._nobodys.cache_clear()
    yield
    passwords._nobodys.cache_clear()


@pytest.fixture
def as_(at: Deployment) -> As:
    """Somebody who is logged in, with roles as `ROLE`, `ROLE PROJECT` or `ROLE PROJECT/ENVIRONMENT`."""

    def made(name: str, *roles: str) -> KnownActor:
        people.create(at, ROOT, NewAccount(name=name, password=PASSWORD))
        for role in roles:
            word, _, place = role.partition(" ")
            project, _, environment = place.partition("/")
            asked = Member(project=project or None, environment=environment or None, role=word, name=name)
            members.add(at, ROOT, asked)
        return logged_in(at, name)

    return made


def logged_in(at: Deployment, name: str) -> KnownActor:
    return log_in(at.db, name, PASSWORD, "192.0.2.7").principal.as_actor("api")


# -- the table


def test_every_right_has_a_verb_unless_it_is_about_oneself() -> None:
    """An operation without a verb would be everybody's."""
    for name, right in RIGHTS.items():
        assert right.place in get_args(Place), name
        assert (right.verbs == ()) == (right.place == "own"), name
        assert set(right.verbs) <= set(get_args(Verb)), name


@pytest.mark.parametrize(
    ("name", "verbs"),
    [
        ("runs.logs", ("follow",)),
        ("runs.follow", ("follow",)),
        ("runs.download", ("follow",)),
        ("runs.kept", ("follow",)),
        ("runs.accept", ("use",)),
        ("runs.prepare_again", ("use",)),
        ("connections.create", ("use", "manage")),
        ("connections.delete", ("manage",)),
        ("secrets.rollback", ("seal",)),
        ("secrets.delete", ("manage",)),
        ("variables.delete", ("use", "manage")),
        ("pruning.prune", ("manage",)),
        ("keys.rotate", ("manage",)),
        ("audit.list_", ("audit",)),
        ("members.add", ("manage",)),
    ],
)
def test_what_an_operation_takes(name: str, verbs: tuple[Verb, ...]) -> None:
    """As the roles are explained to people."""
    plain = SimpleNamespace(name="LEVEL", role="viewer")
    assert RIGHTS[name].verbs_for(plain) == verbs


def test_a_name_that_installers_act_on_takes_manage() -> None:
    """A variable decides which code runs; one of these decides it for all that are installed."""
    for operation, plain in (
        ("variables.set_", ("use",)),
        ("secrets.set_", ("seal",)),
        ("secrets.rollback", ("seal",)),
    ):
        for name in ("PIP_INDEX_URL", "UV_INDEX", "npm_config_registry", "HTTPS_PROXY"):
            assert {"use", "manage"} <= set(RIGHTS[operation].verbs_for(SimpleNamespace(name=name))), name
        assert RIGHTS[operation].verbs_for(SimpleNamespace(name="LEVEL")) == plain
    planned = SimpleNamespace(to_store=[SimpleNamespace(name="LEVEL"), SimpleNamespace(name="PIP_INDEX_URL")])
    assert "manage" in RIGHTS["importing.carry_out"].verbs_for(planned)
    assert {"seal", "use"} == set(RIGHTS["importing.carry_out"].verbs_for(SimpleNamespace(to_store=[])))


def test_what_destroys_keys_and_gives_use_asks_for_the_credential_again() -> None:
    """Where a browser was left open."""
    for name in ("environments.delete", "projects.delete"):
        assert RIGHTS[name].fresh(None), name
    for role, asks in (("runner", True), ("developer", True), ("admin", True), ("viewer", False), ("sealer", False)):
        assert RIGHTS["members.add"].fresh(SimpleNamespace(role=role)) is asks, role


# -- people


def test_who_manages_people_gets_no_power_over_who_has_more(at: Deployment, as_: As) -> None:
    """Neither by making an admin, nor by an admin's password; and admins are not theirs to keep out."""
    as_("root", "admin")
    mae = as_("mae", "maintainer")
    as_("bob", "viewer")
    for act in (
        lambda: people.create(at, mae, NewAccount(name="eve", password=PASSWORD, admin=True)),
        lambda: people.set_password(at, mae, NewPassword(name="root", password="another correct horse")),
        lambda: people.disable(at, mae, AccountNamed(name="root")),
        lambda: people.enable(at, mae, AccountNamed(name="root")),
        lambda: people.delete(at, mae, AccountNamed(name="root")),
        lambda: members.add(at, mae, Member(role="admin", name="mae")),
        lambda: members.add(at, mae, Member(role="auditor", name="mae")),
        lambda: members.remove(at, mae, Member(role="admin", name="root")),
    ):
        with pytest.raises(Forbidden):
            act()
    people.set_password(at, mae, NewPassword(name="bob", password="another correct horse"))
    people.disable(at, mae, AccountNamed(name="bob"))
    assert [one.name for one in people.list_(at, mae) if one.disabled_at] == ["bob"]
    people.delete(at, mae, AccountNamed(name="bob"))
    with pytest.raises(UnknownAccount):
        people.enable(at, mae, AccountNamed(name="bob"))


def test_ones_own_password_takes_the_one_before(at: Deployment, as_: As) -> None:
    """Whoever finds an open browser does not take the account over; another's takes manage."""
    ada = as_("ada", "viewer")
    as_("bob")
    new = "another correct horse"
    with pytest.raises(Forbidden, match="takes the one before"):
        people.set_password(at, ada, NewPassword(name="ada", password=new))
    with pytest.raises(Unauthenticated):
        people.set_password(at, ada, NewPassword(name="ada", password=new, old="not the password"))
    with pytest.raises(Forbidden):
        people.set_password(at, ada, NewPassword(name="bob", password=new))
    people.set_password(at, ada, NewPassword(name="ada", password=new, old=PASSWORD))
    log_in(at.db, "ada", new, "192.0.2.7")


def test_an_admin_whose_log_in_is_old_makes_no_admin(at: Deployment, as_: As) -> None:
    """Nor sets another person's password: both give what the admin has."""
    as_("root", "admin")
    cookie = log_in(at.db, "root", PASSWORD, "192.0.2.7").cookie
    with at.db.writing() as session:
        session.connection().exec_driver_sql("UPDATE executor_session SET asked_at = created_at")
        row = session.get_one(BrowserSession, session.connection().exec_driver_sql(
            "SELECT digest FROM executor_session ORDER BY created_at DESC LIMIT 1").scalar_one())  # fmt: skip
        row.asked_at = row.asked_at.replace(year=row.asked_at.year - 1)
        session.add(row)
    old = authenticate_session(at.db, cookie).as_actor("api")
    with pytest.raises(CredentialAsked):
        people.create(at, old, NewAccount(name="eve", password=PASSWORD, admin=True))
    people.create(at, old, NewAccount(name="eve", password=PASSWORD))
    with pytest.raises(CredentialAsked):
        people.set_password(at, old, NewPassword(name="eve", password="another correct horse"))


def test_a_person_has_a_password_and_a_service_account_none(at: Deployment) -> None:
    """One without would be let in by nothing, or by anything."""
    for asked in (NewAccount(name="a"), NewAccount(name="a", service=True, password=PASSWORD)):
        with pytest.raises(RequestUnclear):
            people.create(at, ROOT, asked)
    assert PASSWORD not in repr(NewAccount(name="a", password=PASSWORD))


# -- members and tokens


def test_members_are_those_of_a_place_and_of_all_that_it_is_in(shop: Shop, as_: As) -> None:
    """Of a project also those of its environments."""
    as_("root", "admin")
    as_("ada", "maintainer shop")
    as_("bob", "runner shop/default")
    who = logged_in(shop.at, "ada")

    def names(**place: Any) -> list[str]:
        return sorted(one.name for one in members.list_(shop.at, who, Members(**place)))

    assert names(project="shop") == ["ada", "bob", "root"]
    assert names(project="shop", environment="staging") == ["ada", "root"]
    assert [one.name for one in members.list_(shop.at, ROOT, Members())] == ["root"]
    with pytest.raises(UnknownProject, match="no project"):
        members.list_(shop.at, ROOT, Members(project="shopp"))


def test_a_deleted_project_gets_no_members_and_no_tokens(shop: Shop, as_: As) -> None:
    """It is told to be deleted, by whoever saw it."""
    ada = as_("ada", "maintainer shop")
    vault.delete_project(shop.at.db, "shop", actor=ROOT, ending=lambda session, project: {})
    for act in (
        lambda: members.add(shop.at, ada, Member(project="shop", role="viewer", name="ada")),
        lambda: tokens.create(shop.at, ada, NewToken(name="x", role="viewer", project="shop")),
    ):
        with pytest.raises(ProjectDeleted):
            act()


def test_tokens_are_ones_own_unless_one_manages_all(shop: Shop, as_: As) -> None:
    """To list, to make and to end."""
    ada, bob, root = as_("ada", "viewer shop"), as_("bob", "viewer shop"), as_("root", "admin")
    made = tokens.create(shop.at, ada, NewToken(name="ci", role="viewer", project="shop"))
    assert made.made.owner == "ada" and authenticate_token(shop.at.db, made.token).name == "ada"
    assert made.token not in repr(made)
    assert tokens.list_(shop.at, bob, Tokens()) == []
    for asked in (Tokens(owner="ada"), Tokens(everybody=True)):
        with pytest.raises(Forbidden):
            tokens.list_(shop.at, bob, asked)
    assert [one.name for one in tokens.list_(shop.at, ada, Tokens())] == ["ci"]
    assert [one.name for one in tokens.list_(shop.at, root, Tokens(everybody=True))] == ["ci"]
    with pytest.raises(RequestUnclear, match="whose token"):
        tokens.create(shop.at, ROOT, NewToken(name="x", role="viewer", project="shop"))
    tokens.revoke(shop.at, root, TokenNamed(token=made.made.id))
    with pytest.raises(Unauthenticated):
        authenticate_token(shop.at.db, made.token)


def test_the_installation_has_a_chain_of_its_own(shop: Shop, as_: As) -> None:
    """What is of no project is listed and verified as a project's record is; nobody's project can be named so."""
    assert audit.verify(shop.at, ROOT, Chain()).found.ok and audit.list_(shop.at, ROOT, Events()).events == ()
    as_("ada", "viewer")
    listed = audit.list_(shop.at, ROOT, Events()).events
    assert [event.action for event in listed] == ["user.create", "member.add", "user.log-in"]
    assert audit.verify(shop.at, ROOT, Chain()).found.checked == 3
    assert not [event for event in shop.events() if event.action.startswith(("user", "member"))]
    with shop.at.db.writing() as session:
        session.connection().exec_driver_sql(
            "UPDATE secretstore_audit_event SET actor = 'eve' WHERE action = 'member.add'"
        )
    assert audit.verify(shop.at, ROOT, Chain()).found.first_bad == 2
    with pytest.raises(UnknownProject):
        find_place(shop.at.db, operator("root"), "(installation)")


# -- what depends on who asks


def test_who_may_only_see_is_not_shown_what_a_run_left(shop: Shop, bench: Bench, as_: As) -> None:
    """That there is one and how it ended they see; not its result, its error's words, its outputs and its numbers."""
    place = vault.get_environment(shop.at.db, "shop", "default")
    at = {"project_id": place.project_id, "environment_id": place.id}
    lease = bench.running(shop.at.db, **at)
    canary = "what-the-run-printed"
    with shop.at.db.writing() as session:
        problem = {"type": "ValueError", "message": canary, "traceback": canary}
        session.add(Result(run_id=lease.run_id, attempt=1, result=canary, note=canary, problem=problem))
        session.connection().exec_driver_sql(f"UPDATE executor_run SET message = '{canary}'")
        session.connection().exec_driver_sql(f"UPDATE executor_attempt SET message = '{canary}'")
    viewer, follower, elsewhere = (
        as_("vera", "viewer shop"),
        as_("finn", "follower shop/default"),
        as_("eli", "follower shop/staging", "viewer shop"),
    )
    asked = ThatAttempt(run=lease.run_id)
    for who in (viewer, elsewhere):
        for shown in (
            operations.show(shop.at, who, asked),
            operations.show(shop.at, who, ThatAttempt(run=lease.run_id, attempt=1)),
            *operations.list_(shop.at, who, ThoseRuns(project="shop")),
        ):
            assert canary not in repr(shown) and shown.state == "running" and shown.attempts is not None
    for who in (follower, ROOT):
        assert canary in repr(operations.show(shop.at, who, asked))
        assert canary in repr(operations.list_(shop.at, who, ThoseRuns(project="shop")))
    # It was of an environment that is gone, and whose name another one has by now.
    with shop.at.db.writing() as session:
        session.connection().exec_driver_sql("UPDATE executor_run SET environment_id = 'gone'")
    assert canary not in repr(operations.show(shop.at, follower, asked))


def test_where_a_connection_leads_is_on_record_old_and_new(shop: Shop) -> None:
    """Whoever edits the address is sent the credential; a login in it is not kept."""

    def make(endpoint: str) -> None:
        settings = {"endpoint": endpoint, "token": {"$secret": "TOKEN"}}
        asked = NewConnection(
            project="shop", environments=("default",), role="catalog", name="lake", kind="unity-catalog",
            settings=settings, replace=True,
        )  # fmt: skip
        connections.create(shop.at, ROOT, asked)

    make("https://uc.example.com")
    make("https://evil.example.com")
    first, second = [event.detail for event in shop.events()[-2:]]
    assert '"settings": {"endpoint": "https://uc.example.com"' in first and '"old"' not in first
    assert '"old": {"endpoint": "https://uc.example.com"' in second and "https://evil.example.com" in second


def test_what_somebody_reads_of_a_run_is_on_record_once_in_a_while(shop: Shop, as_: As) -> None:
    """Who, which run, what; a page after another of one log is one reading."""
    ada = as_("ada", "follower shop")
    place = find_place(shop.at.db, ada.principal, "shop", "default")
    assert place.project_id is not None and place.environment_id is not None
    assert record_read(shop.at.db, ada, place, "r1", "logs")
    assert not record_read(shop.at.db, ada, place, "r1", "logs")
    assert record_read(shop.at.db, ada, place, "r1", "outputs")
    assert record_read(shop.at.db, ada, place, "r2", "logs")
    link_waiting(shop.at.db)
    told = [(one.actor, one.action, one.subject) for one in shop.events() if one.action.startswith("run.")]
    assert told == [
        ("ada", "run.read-logs", "default/r1"),
        ("ada", "run.read-outputs", "default/r1"),
        ("ada", "run.read-logs", "default/r2"),
    ]


def test_reading_what_a_run_left_goes_on_record_and_looking_whether_it_ended_does_not(
    shop: Shop, bench: Bench, as_: As
) -> None:
    """By the verb that it takes; a result that is shown is read, too. The operator's own reading is not written."""
    ada = as_("ada", "follower shop")
    place = vault.get_environment(shop.at.db, "shop", "default")
    lease = bench.running(shop.at.db, project_id=place.project_id, environment_id=place.id)

    def told() -> list[str]:
        link_waiting(shop.at.db)
        return [event.action for event in shop.events() if event.action.startswith("run.")]

    asked = ThatAttempt(run=lease.run_id)
    admit(shop.at, ada, "runs.show", asked)
    admit(shop.at, ada, "runs.state", ThatRun(run=lease.run_id))
    operations.show(shop.at, ada, asked)
    assert told() == []
    admit(shop.at, ada, "runs.logs", OutputOf(run=lease.run_id[:12]))
    assert told() == ["run.read-logs"]
    with shop.at.db.writing() as session:
        session.add(Result(run_id=lease.run_id, attempt=1, result=42))
    operations.show(shop.at, ROOT, asked)
    operations.show(shop.at, ada, asked)
    assert told() == ["run.read-logs", "run.read-result"]
    with pytest.raises(Forbidden):
        admit(shop.at, as_("vera", "viewer shop"), "runs.logs", OutputOf(run=lease.run_id))
    assert len(told()) == 2
