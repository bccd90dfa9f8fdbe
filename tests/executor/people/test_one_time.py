"""What works once, for minutes: links, codes of command lines, log-ins at an issuer, answers that are kept."""

import pytest
from sqlmodel import select

from executor.errors import (
    AnswerPending,
    CodeRefused,
    CredentialAsked,
    Forbidden,
    KeyOfAnother,
    LinkSpent,
    PasswordRefused,
    RequestUnclear,
    TooManyAttempts,
    Unauthenticated,
)
from executor.people import accounts, device, idempotency, links, oidc_states, pruning, throttle
from executor.people.holding import grants_of
from executor.people.idempotency import Request, Stored
from executor.people.principal import operator
from executor.people.sessions import authenticate_session
from executor.people.tables import (
    Answer,
    Attempts,
    BrowserSession,
    DeviceCode,
    Link,
    Membership,
    OidcState,
    Token,
)
from secretstore.models import Project
from tests.executor.people.conftest import PASSWORD, ROOT, People

HERE = "192.0.2.7"


def spend(people: People, secret: str, name: str = "ada", password: str = PASSWORD) -> str:
    return links.spend_first_admin_link(people.db, secret, name, password, HERE).cookie


def test_the_first_link_makes_the_first_admin_and_is_spent(people: People) -> None:
    """Whoever opens it a second time, or another one, finds that there is an admin."""
    secret = links.make_first_admin_link(people.db)
    assert secret is not None
    cookie = spend(people, secret)
    assert people.may(authenticate_session(people.db, cookie), "manage", "")
    with pytest.raises(LinkSpent):
        spend(people, secret, "eve")
    assert links.make_first_admin_link(people.db) is None
    assert [event.action for event in people.events()] == ["user.create", "member.add"]


def test_a_first_link_is_over_after_ten_minutes_and_when_there_is_an_admin(people: People) -> None:
    """And when another one was made; a password that is refused does not spend it."""
    old = links.make_first_admin_link(people.db)
    secret = links.make_first_admin_link(people.db)
    assert old is not None and secret is not None
    with pytest.raises(PasswordRefused):
        spend(people, secret, password="short")
    for wrong in (old, "", "x" * 43):
        with pytest.raises(LinkSpent):
            spend(people, wrong)
    people.age(Link, expires_at=links.MINUTES * 60)
    with pytest.raises(LinkSpent):
        spend(people, secret)
    secret = links.make_first_admin_link(people.db)
    people.person("root", "admin")
    with pytest.raises(LinkSpent):
        spend(people, str(secret))
    assert [one.name for one in accounts.list_accounts(people.db)] == ["root"]


def test_a_command_line_acts_for_whoever_typed_its_code(people: People) -> None:
    """Who sees first which machine asks; the answer is given once, to the one who began."""
    people.person("ada", "runner shop")
    ada = people.logged_in("ada")
    begun = device.begin(people.db, "laptop", "198.51.100.9")
    assert len(begun.shown.replace("-", "")) == 8
    assert device.poll(people.db, begun.secret).state == "waiting"
    typed = begun.shown.lower().replace("-", " ")
    assert device.look(people.db, ada, typed, HERE) == device.Waiting("laptop", "198.51.100.9")
    device.agree(people.db, ada, typed, HERE, actor=ada.as_actor("api"))
    answer = device.poll(people.db, begun.secret)
    assert (answer.state, answer.account_id, answer.host) == ("agreed", ada.id, "laptop")
    assert device.poll(people.db, begun.secret).state == "over"
    assert people.events()[-1].action == "device.agree"


def test_five_wrong_codes_are_all_that_somebody_may_type(people: People) -> None:
    """The right one, too, is refused then, whatever session they type it in."""
    people.person("ada")
    begun = device.begin(people.db, "laptop", HERE)
    for _ in range(device.TRIES):
        with pytest.raises(CodeRefused):
            device.look(people.db, people.logged_in("ada"), "BBBB-BBBB", HERE)
    with pytest.raises(TooManyAttempts):
        device.look(people.db, people.logged_in("ada"), begun.shown, "198.51.100.1")
    assert device.TRIES == 5 and device.MINUTES == 10


def test_a_code_is_over_after_ten_minutes_or_when_it_is_refused(people: People) -> None:
    """For whoever types it, and for the command line that waits."""
    people.person("ada")
    ada, actor = people.logged_in("ada"), people.logged_in("ada").as_actor("api")
    begun = device.begin(people.db, "laptop", HERE)
    device.refuse(people.db, ada, begun.shown, HERE)
    assert device.poll(people.db, begun.secret).state == "over"
    with pytest.raises(CodeRefused):
        device.agree(people.db, ada, begun.shown, HERE, actor=actor)
    old = device.begin(people.db, "laptop", HERE)
    people.age(DeviceCode, expires_at=device.MINUTES * 60)
    with pytest.raises(CodeRefused):
        device.agree(people.db, ada, old.shown, HERE, actor=actor)
    assert device.poll(people.db, old.secret).state == "over"
    assert device.poll(people.db, "x" * 43).state == "over"


def test_only_a_person_in_a_browser_agrees_and_lately_logged_in(people: People) -> None:
    """A token does not make itself another one; nor does a browser that was left open."""
    people.person("ada", "runner shop")
    begun = device.begin(people.db, "laptop", HERE)
    for who in (people.by_token("ada", "runner", "shop"), operator("root")):
        for act in (device.look, device.refuse):
            with pytest.raises(Forbidden):
                act(people.db, who, begun.shown, HERE)
        with pytest.raises(Forbidden):
            device.agree(people.db, who, begun.shown, HERE, actor=ROOT)
    cookie = people.cookie("ada")
    people.age(BrowserSession, asked_at=6 * 60)
    with pytest.raises(CredentialAsked):
        device.agree(people.db, authenticate_session(people.db, cookie), begun.shown, HERE, actor=ROOT)
    assert device.poll(people.db, begun.secret).state == "waiting"


def test_who_was_disabled_meanwhile_gets_no_command_line(people: People) -> None:
    """Between the typing and the answer."""
    people.person("ada")
    ada = people.logged_in("ada")
    begun = device.begin(people.db, "laptop", HERE)
    device.agree(people.db, ada, begun.shown, HERE, actor=ROOT)
    accounts.disable(people.db, "ada", actor=ROOT)
    assert device.poll(people.db, begun.secret).state == "over"


def test_a_log_in_at_an_issuer_comes_back_once_to_the_browser_that_began_it(people: People) -> None:
    """With the nonce and the verifier that it left with; another browser, or a second time, gets nothing."""
    begun = oidc_states.begin(people.db, "browser-1", "https://id.example.com", "/runs?state=failed")
    assert len({begun.state, begun.nonce, begun.verifier}) == 3 and len(begun.verifier) >= 43
    for state, browser in ((begun.state, "browser-2"), (begun.state, ""), ("x", "browser-1")):
        with pytest.raises(Unauthenticated):
            oidc_states.take(people.db, state, browser)
    assert oidc_states.take(people.db, begun.state, "browser-1") == begun
    with pytest.raises(Unauthenticated):
        oidc_states.take(people.db, begun.state, "browser-1")
    old = oidc_states.begin(people.db, "browser-1", "https://id.example.com")
    people.age(OidcState, expires_at=oidc_states.MINUTES * 60)
    with pytest.raises(Unauthenticated):
        oidc_states.take(people.db, old.state, "browser-1")


def test_after_a_log_in_one_is_led_to_this_server_and_nowhere_else() -> None:
    """An open redirect would lend our name to a page that asks for passwords."""
    for path in ("/", "/runs/1?tab=log&x=%2F", "/a//b"):
        assert oidc_states.local_path(path) == path
    for elsewhere in (
        "", "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example",
        "/\n/evil.example", "javascript:alert(1)", "runs", "/a\r\nSet-Cookie: x=y", " /runs", "/ü",
    ):  # fmt: skip
        assert oidc_states.local_path(elsewhere) == "/", elsewhere


def request(
    key: str = "k-1", body: bytes = b"{}", who: str = "ada", project: str | None = "p", route: str = "runs"
) -> Request:
    return Request(who, project, route, key, body)


def test_a_request_that_is_sent_again_is_answered_and_not_done_again(people: People) -> None:
    """With the same status, headers and bytes."""
    assert idempotency.begin(people.db, request()) is None
    with pytest.raises(AnswerPending):
        idempotency.begin(people.db, request())
    answer = Stored(201, {"Location": "/runs/1", "Content-Type": "application/json"}, b'{"id": "1"}')
    idempotency.finish(people.db, request(), answer)
    assert idempotency.begin(people.db, request()) == answer
    with pytest.raises(KeyOfAnother):
        idempotency.begin(people.db, request(body=b'{"x": 1}'))


def test_a_key_is_one_principals_in_one_project_at_one_route(people: People) -> None:
    """Nobody finds, or blocks, another's answers by guessing keys."""
    idempotency.begin(people.db, request())
    idempotency.finish(people.db, request(), Stored(200, {}, b"secret of ada"))
    for other in (request(who="eve"), request(project="q"), request(project=None), request(route="tokens")):
        assert idempotency.begin(people.db, other) is None
    for wrong in ("", "x" * 256):
        with pytest.raises(RequestUnclear):
            idempotency.begin(people.db, request(wrong))


def test_a_request_that_failed_or_whose_process_died_is_done_by_the_next(people: People) -> None:
    """Nobody waits for an answer that does not come; after a day a key is new."""
    idempotency.begin(people.db, request())
    idempotency.give_up(people.db, request())
    assert idempotency.begin(people.db, request(body=b"another")) is None
    people.age(Answer, begun_at=121)
    with pytest.raises(KeyOfAnother):
        idempotency.begin(people.db, request())
    assert idempotency.begin(people.db, request(body=b"another")) is None
    idempotency.finish(people.db, request(), Stored(200, {}, b"done"))
    idempotency.give_up(people.db, request())
    assert idempotency.begin(people.db, request(body=b"another")) == Stored(200, {}, b"done")
    people.age(Answer, expires_at=idempotency.HOURS * 3600)
    assert idempotency.begin(people.db, request()) is None


def test_what_is_over_is_deleted_and_the_rest_stays(people: People) -> None:
    """Rows of what has expired, and roles in places that are gone for good."""
    people.person("ada", "runner shop", "viewer bank/dev", "admin")
    ada = people.logged_in("ada")
    people.token("ada", "runner", "shop")
    device.begin(people.db, "laptop", HERE)
    oidc_states.begin(people.db, "browser", "https://id.example.com")
    throttle.take(people.db, (throttle.LOG_IN_OF_ACCOUNT, "ada"))
    idempotency.begin(people.db, request())
    with people.db.writing() as session:
        session.add(Link(digest="x", purpose="first admin", expires_at=session.exec(select(Token)).one().expires_at))
    assert pruning.prune(people.db) == 0
    day = 24 * 3600
    ages = {BrowserSession: 2, Token: 30, DeviceCode: 1, OidcState: 1, Attempts: 1, Answer: 1, Link: 30}
    for table, days in ages.items():
        column = "ends_at" if table is Attempts else "expires_at"
        people.age(table, **{column: days * day})
    with people.db.writing() as session:
        bank = session.exec(select(Project).where(Project.name == "bank")).one()
        bank.destroyed_at = bank.created_at
        session.add(bank)
    assert pruning.prune(people.db) == len(ages) + 1
    with people.db.reading() as session:
        assert len(session.exec(select(Membership)).all()) == 2
        assert len(grants_of(people.db, session, ada.id)) == 2
