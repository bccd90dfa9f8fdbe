"""Who may do what: roles at places, tokens within their owners, and nothing for who is out."""

import threading

import pytest

from executor.errors import CredentialAsked, Forbidden, LastAdmin, NotGiven, Unauthenticated
from executor.people import accounts, memberships, tokens
from executor.people.logging_in import log_in_oidc
from executor.people.places import find_place
from executor.people.principal import INSTALLATION, KnownActor, Principal, operator, principal_of
from executor.people.roles import ROLES, VERBS, gives_use
from executor.people.sessions import authenticate_session
from executor.people.tables import BrowserSession, GroupMember
from executor.people.tokens import authenticate_token
from secretstore.audit import Actor
from secretstore.errors import AlreadyExists, UnknownEnvironment, UnknownProject
from tests.executor.people.conftest import ROOT, People

ISSUER = "https://id.example.com"


def test_a_role_counts_in_its_place_and_in_what_is_in_it(people: People) -> None:
    """Of a project in all its environments, of an environment there alone, of the installation everywhere."""
    people.person("ada", "runner shop/dev", "viewer bank")
    ada = people.logged_in("ada")
    assert people.may(ada, "use", "shop/dev")
    assert not people.may(ada, "use", "shop/prod")
    assert not people.may(ada, "see", "shop/prod")
    assert people.may(ada, "see", "bank") and people.may(ada, "see", "bank/prod")
    assert not people.may(ada, "see", "")
    people.person("root", "admin")
    root = people.logged_in("root")
    assert all(people.may(root, verb, place) for verb in VERBS for place in people.places)


def test_what_reaches_all_environments_takes_the_verb_in_the_project(people: People) -> None:
    """To manage each environment there is does not reach those to come, nor a project's own settings."""
    people.person("ada", "maintainer shop/dev", "maintainer shop/prod")
    ada = people.logged_in("ada")
    assert people.may(ada, "manage", "shop/dev") and people.may(ada, "manage", "shop/prod")
    with pytest.raises(Forbidden):
        ada.require("manage", at=people.places["shop"])


def test_a_refusal_names_the_verb_the_place_and_who_can_give_it(people: People) -> None:
    """A sentence for somebody who has to ask somebody."""
    people.person("ada", "viewer shop")
    ada = people.logged_in("ada")
    with pytest.raises(Forbidden) as refused:
        ada.require("see", "use", at=people.places["shop/prod"])
    assert str(refused.value) == "ada may not use shop/prod"
    assert refused.value.hint == (
        "a maintainer or an admin of shop can give it: sealrun member add ada --role runner -p shop -e prod"
    )
    with pytest.raises(Forbidden, match="ada may not manage the installation"):
        ada.require("manage", at=INSTALLATION)


def test_who_sees_nothing_of_a_project_is_answered_as_if_there_were_none(people: People) -> None:
    """The same error, words and hint as for a name that nobody has; and so for an environment."""
    people.person("ada", "viewer shop/dev")
    ada = people.logged_in("ada")

    def answer(project: str, environment: str | None = None) -> tuple[str, str | None, str]:
        with pytest.raises((UnknownProject, UnknownEnvironment)) as unknown:
            find_place(people.db, ada, project, environment)
        return str(unknown.value).replace(environment or project, "it"), unknown.value.hint, unknown.value.code

    assert answer("bank")[0] == answer("bang")[0]
    assert answer("bank")[2] == answer("bang")[2]
    assert "bank" not in str(answer("bang"))
    assert answer("shop", "prod") == answer("shop", "prud")
    assert find_place(people.db, ada, "shop") == people.places["shop"]
    assert find_place(people.db, ada, "shop", "dev") == people.places["shop/dev"]
    for place in ("bank", "bank/prod"):
        with pytest.raises(UnknownProject):
            ada.require("use", at=people.places[place])


def test_a_list_has_what_one_may_see(people: People) -> None:
    """The ids of projects and environments, or that it is all."""
    people.person("ada", "viewer shop/dev", "auditor bank")
    ada = people.logged_in("ada")
    shop, bank = people.places["shop"].project_id, people.places["bank"].project_id
    assert ada.projects("see") == {shop, bank}
    assert ada.projects("audit") == {bank}
    assert shop and ada.environments("see", shop) == {people.places["shop/dev"].environment_id}
    assert bank and ada.environments("see", bank) is None
    assert operator("root").projects("see") is None


def test_a_token_has_what_both_it_and_its_owner_have(people: People) -> None:
    """Whichever has less, at each use: what the owner loses, the token loses, and what they win it does not."""
    people.person("ada", "developer shop", "viewer bank")
    text = people.token("ada", "runner", "shop/dev")
    ci = authenticate_token(people.db, text)
    assert people.may(ci, "use", "shop/dev")
    assert not people.may(ci, "seal", "shop/dev")
    assert not people.may(ci, "use", "shop/prod")
    assert not people.may(ci, "see", "bank")
    people.give("ada", "admin")
    assert not people.may(authenticate_token(people.db, text), "manage", "shop/dev")
    with pytest.raises(Forbidden) as refused:
        authenticate_token(people.db, text).require("seal", at=people.places["shop/dev"])
    assert "this token was not made for it" in str(refused.value.hint)


def test_a_token_whose_owner_lost_its_role_ends_and_does_not_come_back(people: People) -> None:
    """Its rights end at once, in the same transaction, and giving the role again does not wake it."""
    people.person("ada", "runner shop", "viewer bank")
    lost, kept = people.token("ada", "runner", "shop/dev"), people.token("ada", "viewer", "bank")
    people.take("ada", "runner shop")
    with pytest.raises(Unauthenticated, match="revoked"):
        authenticate_token(people.db, lost)
    people.give("ada", "runner shop")
    with pytest.raises(Unauthenticated, match="revoked"):
        authenticate_token(people.db, lost)
    assert people.may(authenticate_token(people.db, kept), "see", "bank")


def test_nobody_gives_or_takes_more_than_they_have(people: People) -> None:
    """A maintainer of a project makes no auditor of it, no admin, and nobody anything elsewhere."""
    people.person("ada", "maintainer shop")
    people.person("bob", "admin shop")
    ada = people.logged_in("ada")
    who = ada.as_actor("api")

    def give(role: str, place: str) -> None:
        memberships.give(people.db, "bob", role, people.places[place], actor=who, by=ada)

    give("runner", "shop/dev")
    for role in ("auditor", "admin"):
        with pytest.raises(Forbidden, match="it has audit, and ada has not"):
            give(role, "shop/dev")
    with pytest.raises(UnknownProject):
        give("viewer", "bank")
    with pytest.raises(Forbidden):
        give("viewer", "")
    with pytest.raises(Forbidden, match="take away"):
        memberships.take(people.db, "bob", "admin", people.places["shop"], actor=who, by=ada)
    with pytest.raises(AlreadyExists):
        give("runner", "shop/dev")
    with pytest.raises(NotGiven):
        memberships.take(people.db, "bob", "viewer", people.places["shop"], actor=who, by=ada)


def test_nobody_makes_a_token_with_more_than_they_or_its_owner_have(people: People) -> None:
    """Neither for themselves, nor for a service account; and of another person nobody makes one."""
    people.person("ada", "runner shop/dev")
    people.person("bob", "admin")
    people.person("deploy", "runner shop", service=True)
    ada, bob = people.logged_in("ada"), people.logged_in("bob")

    def make(by: Principal, owner: str, role: str, place: str) -> None:
        tokens.create(people.db, owner, "x", role, people.places[place], actor=ROOT, by=by)

    make(ada, "ada", "runner", "shop/dev")
    for role, place in (("developer", "shop/dev"), ("runner", "shop"), ("runner", "shop/prod"), ("viewer", "")):
        with pytest.raises(Forbidden, match="more than ada has"):
            make(ada, "ada", role, place)
    for owner in ("bob", "deploy"):
        with pytest.raises(Forbidden, match=f"may not make tokens of {owner}"):
            make(ada, owner, "viewer", "shop/dev")
    make(bob, "deploy", "runner", "shop")
    with pytest.raises(Forbidden, match="more than deploy has"):
        make(bob, "deploy", "maintainer", "shop")
    with pytest.raises(Forbidden, match="may not make tokens of ada"):
        make(bob, "ada", "viewer", "shop/dev")


def test_a_token_makes_no_token_with_more_than_itself_has(people: People) -> None:
    """Its owner could: who finds a token does not get the rest."""
    people.person("ada", "maintainer shop")
    ci = people.by_token("ada", "runner", "shop/dev")
    with pytest.raises(Forbidden, match="more than ada has"):
        tokens.create(people.db, "ada", "x", "maintainer", people.places["shop"], actor=ROOT, by=ci)


def test_disabling_somebody_ends_sessions_and_tokens_for_good(people: People) -> None:
    """At their next use, in whatever process that is; who is enabled again begins anew."""
    people.person("ada", "runner shop")
    cookie, text = people.cookie("ada"), people.token("ada", "runner", "shop")
    authenticate_session(people.db, cookie), authenticate_token(people.db, text)
    accounts.disable(people.db, "ada", actor=ROOT)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            authenticate_session(people.db, cookie)
        with pytest.raises(Unauthenticated):
            authenticate_token(people.db, text)
        accounts.enable(people.db, "ada", actor=ROOT)
    assert people.may(people.logged_in("ada"), "use", "shop")


def test_a_row_that_says_disabled_is_enough(people: People) -> None:
    """Whatever became of sessions and tokens: it is looked up at each use."""
    people.person("ada", "runner shop")
    cookie, text = people.cookie("ada"), people.token("ada", "runner", "shop")
    with people.db.writing() as session:
        account = accounts.account_named(session, "ada")
        account.disabled_at = account.created_at
        session.add(account)
    with pytest.raises(Unauthenticated):
        authenticate_session(people.db, cookie)
    with pytest.raises(Unauthenticated):
        authenticate_token(people.db, text)


def test_who_leaves_a_group_loses_what_it_gave_and_their_sessions(people: People) -> None:
    """Their next log-in says so; the sessions before it end, and tokens with the group's rights."""
    people.give("qa", "runner shop", group=True, issuer=ISSUER)
    first = log_in_oidc(people.db, ISSUER, "sub-1", "ada", ["qa", "all"], "192.0.2.7")
    assert people.may(first.principal, "use", "shop/prod")
    text = people.token("ada", "runner", "shop/dev")
    second = log_in_oidc(people.db, ISSUER, "sub-1", "ada", ["all"], "192.0.2.7")
    assert second.principal.id == first.principal.id
    assert not people.may(second.principal, "see", "shop")
    with pytest.raises(Unauthenticated):
        authenticate_session(people.db, first.cookie)
    with pytest.raises(Unauthenticated):
        authenticate_token(people.db, text)


def test_a_group_that_loses_its_role_takes_it_from_all_in_it(people: People) -> None:
    """At once, for sessions and tokens."""
    people.give("qa", "runner shop", group=True, issuer=ISSUER)
    ada = log_in_oidc(people.db, ISSUER, "sub-1", "ada", ["qa"], "192.0.2.7")
    text = people.token("ada", "runner", "shop")
    people.take("qa", "runner shop", group=True, issuer=ISSUER)
    with pytest.raises(Unauthenticated):
        authenticate_session(people.db, ada.cookie)
    with pytest.raises(Unauthenticated):
        authenticate_token(people.db, text)


def test_what_a_log_in_said_of_groups_is_believed_for_a_day(people: People) -> None:
    """An issuer tells of nobody who left: who does not log in again loses what a group gave."""
    people.give("qa", "runner shop", group=True, issuer=ISSUER)
    ada = log_in_oidc(people.db, ISSUER, "sub-1", "ada", ["qa"], "192.0.2.7")
    text = people.token("ada", "runner", "shop")
    assert people.may(authenticate_token(people.db, text), "use", "shop")
    people.age(GroupMember, said_at=25 * 3600)
    assert not people.may(authenticate_session(people.db, ada.cookie), "use", "shop")
    assert not people.may(authenticate_token(people.db, text), "use", "shop"), "a token has no more than its owner"


def test_another_issuers_group_of_the_same_name_is_another(people: People) -> None:
    """Whoever runs some issuer does not choose who is in the groups of this one."""
    people.give("qa", "runner shop", group=True, issuer=ISSUER)
    eve = log_in_oidc(people.db, "https://other.example", "sub-1", "eve", ["qa"], "192.0.2.7")
    assert not people.may(eve.principal, "see", "shop")


def test_the_last_admin_stays(people: People) -> None:
    """Disabled, deleted or demoted by nobody, the operator included, as long as there is no other who can log in."""
    people.person("ada", "admin")
    people.person("bob", "admin")
    people.person("robot", "admin", service=True)
    accounts.disable(people.db, "bob", actor=ROOT)
    for act in (
        lambda: accounts.disable(people.db, "ada", actor=ROOT),
        lambda: accounts.delete_account(people.db, "ada", actor=ROOT),
        lambda: people.take("ada", "admin"),
    ):
        with pytest.raises(LastAdmin, match="ada is the last admin"):
            act()
    assert people.may(people.logged_in("ada"), "manage", "")
    accounts.enable(people.db, "bob", actor=ROOT)
    people.take("ada", "admin")
    with pytest.raises(LastAdmin):
        accounts.delete_account(people.db, "bob", actor=ROOT)


def test_of_two_admins_who_are_taken_away_at_once_one_stays(people: People) -> None:
    """The second waits for the first, and then finds that nobody else is left."""
    people.person("ada", "admin")
    people.person("bob", "admin")
    outcome: list[str] = []

    def disable_bob() -> None:
        try:
            accounts.disable(people.db, "bob", actor=ROOT)
            outcome.append("disabled")
        except LastAdmin:
            outcome.append("refused")

    other = threading.Thread(target=disable_bob)
    with people.db.writing() as session:
        accounts.hold_admins(session)
        account = accounts.account_named(session, "ada")
        account.disabled_at = account.created_at
        session.add(account)
        session.flush()
        other.start()
        other.join(1)  # whoever does not wait is done by then, or else sees what is committed
    other.join()
    assert outcome == ["refused"]


def test_giving_use_asks_for_the_credential_again(people: People) -> None:
    """A browser somebody left open gives nobody the power to run code; other roles it may give."""
    people.person("ada", "admin")
    people.person("bob")
    cookie = people.cookie("ada")
    people.age(BrowserSession, asked_at=6 * 60)
    ada = authenticate_session(people.db, cookie)
    assert not ada.fresh
    for role in ROLES:
        if gives_use(role):
            with pytest.raises(CredentialAsked):
                memberships.give(people.db, "bob", role, INSTALLATION, actor=ROOT, by=ada)
        else:
            memberships.give(people.db, "bob", role, INSTALLATION, actor=ROOT, by=ada)


def test_who_is_not_said_is_not_taken_for_the_operator() -> None:
    """A door that forgets to say who asks is refused where it matters."""
    assert principal_of(Actor("root@here", "cli")).kind == "operator"
    for origin in ("api", "console", "worker w", ""):
        with pytest.raises(Forbidden):
            principal_of(Actor("ada", origin))
    nobody = Principal("person", "1", "ada", ())
    assert principal_of(nobody.as_actor("cli")) is nobody
    assert isinstance(nobody.as_actor("api"), KnownActor)


def test_a_role_of_another_version_gives_nothing(people: People) -> None:
    """A row with a word that this version does not know is no reason to guess."""
    people.person("ada", "viewer shop")
    with people.db.writing() as session:
        session.connection().exec_driver_sql("UPDATE executor_membership SET role = 'emperor'")
    assert people.logged_in("ada").grants[0].verbs == frozenset()


def test_who_gave_what_to_whom_is_on_record(people: People) -> None:
    """In the project's chain what is about the project, else in the installation's."""
    people.person("ada", "maintainer shop")
    ada = people.logged_in("ada")
    people.person("bob")
    actor = ada.as_actor("api")
    memberships.give(people.db, "bob", "runner", people.places["shop/dev"], actor=actor, by=ada)
    memberships.take(people.db, "bob", "runner", people.places["shop/dev"], actor=actor, by=ada)
    people.token("ada", "viewer", "shop")
    people.give("bob", "auditor")
    told = [(event.action, event.subject, event.actor) for event in people.events("shop")]
    assert told[1:] == [
        ("member.add", "bob: runner of shop/dev", "ada"),
        ("member.remove", "bob: runner of shop/dev", "ada"),
        ("token.create", "ada/ci", "root@here"),
    ]
    assert '"place": "shop/dev", "role": "runner"' in people.events("shop")[1].detail
    ours = [(event.action, event.subject) for event in people.events()]
    assert ours == [("user.create", "ada"), ("user.create", "bob"), ("member.add", "bob: auditor of the installation")]
