"""Secrets and variables: who set them, what is refused whole, and that no answer has a value."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError
from sqlmodel import Session

from executor import runs
from executor.operations import connections, importing, secrets, variables
from executor.runs import Outcome
from executor.runs.grant import Given
from executor.runs.spec import Hit
from executor.schemas.connections import NewConnection
from executor.schemas.importing import Import, Pair, Reading
from executor.schemas.places import InProject, Named
from executor.schemas.secrets import DueBefore, ListedSecret, NewSecret, Rollback, SecretDeletion
from executor.schemas.variables import NewVariable
from executor.worker import janitor
from secretstore import vault
from secretstore.errors import InUse, NameRefused, SecretStoreError, UnknownEnvironment, UnknownSecret, ValueRefused
from tests.executor.conftest import Bench
from tests.executor.operations.conftest import WHO, Shop

VALUE = b"correct-horse-battery"


def new(name: str = "API_KEY", value: bytes = VALUE, *places: str, **fields: object) -> NewSecret:
    given = {"project": "shop", "environments": places or ("default",), "name": name, "value": value}
    return NewSecret(**(given | fields))  # type: ignore[arg-type]


def test_who_asks_stands_in_the_record(shop: Shop) -> None:
    """Of every act, as passed in; the record and the answers have no value."""
    first = secrets.set_(shop.at, WHO, new())
    secrets.set_(shop.at, WHO, new(value=b"another-horse-battery"))
    secrets.rollback(shop.at, WHO, Rollback(project="shop", environment="default", name="API_KEY"))
    secrets.delete(shop.at, WHO, SecretDeletion(project="shop", environment="default", name="API_KEY"))
    shop.set_variable("LEVEL", "debug")
    variables.delete(shop.at, WHO, Named(project="shop", environment="default", name="LEVEL"))
    events = shop.events()[3:]
    actions = ["secret.set", "secret.set", "secret.rollback", "secret.delete", "variable.set", "variable.delete"]
    assert [event.action for event in events] == actions
    assert {(event.actor, event.origin) for event in events} == {(WHO.name, WHO.origin)}
    assert first.secrets[0].created_by == WHO.name
    assert "horse" not in repr((first, events))


def test_a_value_stands_in_no_answer_and_no_refusal() -> None:
    """Neither where the input is shown, nor where it is refused."""
    assert "horse" not in repr(new())
    with pytest.raises(ValidationError) as refused:
        new(value={"typed": "correct-horse"})  # type: ignore[arg-type]
    assert "horse" not in str(refused.value)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (new("PATH", create_environments=True), NameRefused),
        (new(value=b"", create_environments=True), ValueRefused),
        (new(value=b"tiny42", create_environments=True), ValueRefused),
        (new("API_KEY", b"a\0binary-value", "default", "new", create_environments=True), ValueRefused),
        (new(expires_at=datetime(2020, 1, 1, tzinfo=UTC), create_environments=True), ValueRefused),
        (new("API_KEY", VALUE, "default", "new"), UnknownEnvironment),
    ],
)
def test_what_is_refused_leaves_nothing(shop: Shop, asked: NewSecret, why: type[SecretStoreError]) -> None:
    """No secret in any of the environments, no environment that was to be made for it, no event."""
    before = shop.events()
    with pytest.raises(why) as refused:
        secrets.set_(shop.at, WHO, asked)
    assert shop.events() == before
    assert secrets.list_(shop.at, WHO, InProject(project="shop")) == ()
    assert [place.name for place in vault.list_environments(shop.at.db, "shop")] == ["default", "staging"]
    assert "tiny42" not in f"{refused.value} {refused.value.hint}"


def test_environments_are_made_where_that_is_asked(shop: Shop) -> None:
    """And the answer names those that were not there."""
    stored = secrets.set_(shop.at, WHO, new("API_KEY", VALUE, "default", "prod", create_environments=True))
    assert stored.created_environments == ("prod",)
    assert [view.environment for view in stored.secrets] == ["default", "prod"]
    asked = NewVariable(project="shop", environments=("prod", "lab"), name="LEVEL", value="x", create_environments=True)
    assert variables.set_(shop.at, WHO, asked).created_environments == ("lab",)


def test_what_is_to_be_known_of_a_value_is_noted(shop: Shop) -> None:
    """Of one that is not masked, of a name that shells drop, of a variable that is named like a secret."""
    assert secrets.set_(shop.at, WHO, new("SERVICE", b"postgres://app:tiny@db.example.com/shop")).value_notes
    assert secrets.set_(shop.at, WHO, new("tls.key")).name_notes
    plain = secrets.set_(shop.at, WHO, new("TOKEN", b"kJ8-wq2-long-enough-77"))
    assert (plain.value_notes, plain.name_notes) == ((), ())
    asked = NewVariable(project="shop", environments=("default",), name="DB_PASSWORD", value="x")
    assert "is named like a secret" in variables.set_(shop.at, WHO, asked).notes[0]


def test_a_secret_that_is_named_stays(shop: Shop) -> None:
    """The check and the deletion refuse alike; with force it goes."""
    shop.seal("API_KEY")
    asked = NewConnection(
        project="shop",
        environments=("default",),
        role="source",
        name="db",
        kind="postgres",
        settings={"url": {"$secret": "API_KEY"}},
    )
    connections.create(shop.at, WHO, asked)
    place = {"project": "shop", "environment": "default"}
    before = shop.events()
    for refused in (secrets.require_deletable, secrets.delete):
        with pytest.raises(InUse):
            refused(shop.at, WHO, SecretDeletion(**place, name="API_KEY"))
        with pytest.raises(UnknownSecret):
            refused(shop.at, WHO, SecretDeletion(**place, name="API_KEI"))
    assert shop.events() == before
    secrets.delete(shop.at, WHO, SecretDeletion(**place, name="API_KEY", force=True))
    assert secrets.list_(shop.at, WHO, InProject(project="shop")) == ()


def test_what_is_due_is_counted_whole(shop: Shop) -> None:
    """The first ones by name, and how many there are; what expires later is not among them."""
    now = datetime.now(UTC)
    for days in (5, 3, 90):
        secrets.set_(shop.at, WHO, new(f"IN_{days}", expires_at=now + timedelta(days=days)))
    found = secrets.due(shop.at, WHO, DueBefore(before=now + timedelta(days=14), limit=1))
    assert ([one.name for one in found.secrets], found.count) == (["IN_3"], 2)


def test_a_value_of_another_form_than_a_source_takes_is_told_when_it_is_stored(shop: Shop) -> None:
    """It is stored all the same: the source may be the one that is wrong. An import tells it, too (I10)."""
    settings = {"bucket": "b", "credentials": {"$secret": "KEYS"}}
    lake = NewConnection(
        project="shop", environments=("default",), role="source", name="lake", kind="s3", settings=settings
    )
    connections.create(shop.at, WHO, lake)
    wrong, right = b"hunter2-alone-4711", b'{"aws_access_key_id": "AKIA4711", "aws_secret_access_key": "hunter2-4711"}'

    def told(value: bytes) -> str:
        asked = NewSecret(project="shop", environments=("default",), name="KEYS", value=value)
        return " ".join(secrets.set_(shop.at, WHO, asked).misfits)

    assert "source lake: access_key_id is" in told(wrong) and "it takes JSON with" in told(wrong)
    assert "hunter2" not in told(wrong) and told(right) == ""
    reading = Reading(pairs=(Pair("KEYS", wrong.decode(), "line 1"),), problems=())
    plan = importing.plan(shop.at, WHO, Import(project="shop", environment="default", reading=reading))
    assert any("source lake: access_key_id is" in note for note in plan.shown.notes)


class TestSeen:
    """What runs gave out of a secret."""

    @staticmethod
    def listed(shop: Shop, name: str = "API_KEY") -> ListedSecret:
        (found,) = [one for one in secrets.list_(shop.at, WHO, InProject(project="shop")) if one.name == name]
        return found

    @staticmethod
    def gives_out(shop: Shop, bench: Bench, *found: Hit) -> str:
        """A run that was given the project's secrets as they are now; its id."""
        place = vault.get_environment(shop.at.db, "shop", "default")
        of = {"project_id": place.project_id, "environment_id": place.id}
        lease = bench.claim(shop.at.db, bench.create(shop.at.db, **of))

        def read(session: Session) -> Given:
            return Given.as_variables(vault.sealed_bundle(session, place.id, None))

        runs.pass_gate(shop.at.db, lease, read, rung="landlock", controls={})
        runs.finish(shop.at.db, lease, Outcome("succeeded", masked=found))
        return lease.run_id

    def test_the_last_run_that_gave_it_out_is_told(self, shop: Shop, bench: Bench) -> None:
        """With all that was seen then; a value that only ever came as it is needs no other."""
        shop.seal("API_KEY")
        shop.seal("OTHER")
        assert self.listed(shop).seen is None
        self.gives_out(shop, bench, Hit("API_KEY", "stdout", "as it is", 3))
        last = self.gives_out(
            shop, bench, Hit("API_KEY", "stderr", "as it is", 1), Hit("API_KEY", "result", "as it is", 2)
        )
        self.gives_out(shop, bench, Hit("source lake key", "stdout", "base64", 1))
        found = self.listed(shop)
        assert found.seen is not None and (found.seen.run, found.seen.attempt, found.seen.version) == (last, 1, 1)
        assert [(one.stream, one.count) for one in found.seen.masked] == [("result", 2), ("stderr", 1)]
        assert found.rotate is None
        assert (self.listed(shop, "OTHER").seen, self.listed(shop, "OTHER").rotate) == (None, None)

    def test_a_form_that_others_do_not_find_asks_for_a_new_value(self, shop: Shop, bench: Bench) -> None:
        """Until there is one: a later run as it is does not take it back, and a rollback to the old value does not."""
        shop.seal("API_KEY")
        risky = self.gives_out(
            shop, bench, Hit("API_KEY", "stdout", "base64", 1), Hit("API_KEY", "stdout", "as it is", 1)
        )
        last = self.gives_out(shop, bench, Hit("API_KEY", "stdout", "as it is", 1))
        found = self.listed(shop)
        assert found.seen is not None and found.seen.run == last
        assert found.rotate is not None and found.rotate.run == risky
        assert [one.form for one in found.rotate.masked] == ["base64"]
        shop.seal("API_KEY", b"another-horse-battery")
        found = self.listed(shop)
        assert (found.rotate, found.seen and found.seen.version) == (None, 1)
        secrets.rollback(shop.at, WHO, Rollback(project="shop", environment="default", name="API_KEY"))
        assert self.listed(shop).rotate is not None

    def test_a_form_without_a_rule_counts_as_one_that_others_do_not_find(self, shop: Shop, bench: Bench) -> None:
        """I9: a form that is new here is none that anybody is known to find; a part of a value is one, too."""
        for name, form in (("ONE", "a part of it"), ("TWO", "written backwards")):
            shop.seal(name)
            self.gives_out(shop, bench, Hit(name, "problem", form, 1))
            assert self.listed(shop, name).rotate is not None

    def test_it_goes_with_the_secret_and_with_the_run(self, shop: Shop, bench: Bench) -> None:
        """A secret that is made anew under the name was never seen, and a run that is no longer kept says nothing."""
        shop.seal("API_KEY")
        shop.seal("OTHER")
        self.gives_out(shop, bench, Hit("API_KEY", "stdout", "hex", 1), Hit("OTHER", "stdout", "hex", 1))
        secrets.delete(shop.at, WHO, SecretDeletion(project="shop", environment="default", name="API_KEY"))
        shop.seal("API_KEY")
        assert (self.listed(shop).seen, self.listed(shop).rotate) == (None, None)
        assert self.listed(shop, "OTHER").rotate is not None
        assert janitor.delete_old(shop.at.db, -60, WHO) == 1
        assert self.listed(shop, "OTHER").seen is None
