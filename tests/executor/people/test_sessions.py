"""Sessions, tokens' shape and use, and what is kept of either: nothing that lets anybody in."""

import pytest
from sqlmodel import select

from executor.errors import Unauthenticated
from executor.people import accounts, logging_in, sessions, tokens
from executor.people.opaque import digest
from executor.people.sessions import authenticate_session
from executor.people.tables import BrowserSession, Token
from executor.people.tokens import authenticate_token, check_whole
from secretstore.database import Database
from tests.executor.people.conftest import PASSWORD, ROOT, People


def test_a_session_ends_when_it_is_idle_and_when_it_is_old(people: People) -> None:
    """After so long without a request; and whatever is done with it after so long."""
    people.person("ada")
    idle, old = people.cookie("ada"), people.cookie("ada")
    authenticate_session(people.db, idle)
    people.age(BrowserSession, seen_at=sessions.IDLE_SECONDS + 1)
    with pytest.raises(Unauthenticated):
        authenticate_session(people.db, idle)
    old = people.cookie("ada")
    people.age(BrowserSession, expires_at=sessions.LONGEST_SECONDS - 60)
    authenticate_session(people.db, old)
    people.age(BrowserSession, expires_at=61)
    with pytest.raises(Unauthenticated):
        authenticate_session(people.db, old)


def test_a_session_that_is_used_stays_and_is_noted_once_a_minute(people: People) -> None:
    """Not at every request: each would be a write."""
    people.person("ada")
    cookie = people.cookie("ada")

    def seen() -> object:
        with people.db.reading() as session:
            return session.exec(select(BrowserSession)).one().seen_at

    first = seen()
    authenticate_session(people.db, cookie)
    assert seen() == first
    people.age(BrowserSession, seen_at=61)
    authenticate_session(people.db, cookie)
    assert seen() > first  # type: ignore[operator]


def test_a_session_ends_in_every_process_at_its_log_out(people: People) -> None:
    """The row is the session."""
    people.person("ada")
    cookie, other = people.cookie("ada"), people.cookie("ada")
    elsewhere = Database(people.db.engine.url.render_as_string(hide_password=False))
    try:
        authenticate_session(elsewhere, cookie)
        sessions.end(people.db, cookie)
        with pytest.raises(Unauthenticated):
            authenticate_session(elsewhere, cookie)
        authenticate_session(elsewhere, other)
    finally:
        elsewhere.close()


def test_a_session_gets_a_new_id_at_log_in_and_when_rights_change(people: People) -> None:
    """An id that somebody brought along is not the one that counts afterwards."""
    people.person("ada")
    before = people.cookie("ada")
    after = logging_in.log_in(people.db, "ada", PASSWORD, "192.0.2.7", replaced=before).cookie
    assert after != before
    with pytest.raises(Unauthenticated):
        authenticate_session(people.db, before)
    assert not authenticate_session(people.db, after).renew
    people.give("ada", "viewer shop")
    assert authenticate_session(people.db, after).renew
    new = sessions.renew(people.db, after)
    assert new is not None and not authenticate_session(people.db, new).renew
    assert not authenticate_session(people.db, after).renew, "a request under way has the old id for a moment"
    assert sessions.renew(people.db, after) is None, "another request has changed it already"
    people.age(BrowserSession, previous_until=11)
    with pytest.raises(Unauthenticated):
        authenticate_session(people.db, after)


def test_a_log_out_ends_the_session_whichever_of_its_ids_is_shown(people: People) -> None:
    """The one before a change lives on for some seconds, and not beyond the session."""
    people.person("ada")
    old = people.cookie("ada")
    new = sessions.renew(people.db, old)
    sessions.end(people.db, old)
    for cookie in (old, new):
        with pytest.raises(Unauthenticated):
            authenticate_session(people.db, str(cookie))


def test_the_password_again_makes_a_session_fresh_under_a_new_id(people: People) -> None:
    """And a wrong one does not."""
    people.person("ada")
    cookie = people.cookie("ada")
    people.age(BrowserSession, asked_at=6 * 60)
    assert not authenticate_session(people.db, cookie).fresh
    with pytest.raises(Unauthenticated):
        logging_in.prove_again(people.db, cookie, "not the password", "192.0.2.7")
    assert not authenticate_session(people.db, cookie).fresh
    again = logging_in.prove_again(people.db, cookie, PASSWORD, "192.0.2.7")
    assert again.cookie != cookie and authenticate_session(people.db, again.cookie).fresh


def test_nothing_that_lets_anybody_in_is_in_the_database(people: People) -> None:
    """Neither a session's id nor a token: what reads a backup logs in as nobody."""
    people.person("ada", "viewer shop")
    cookie, text = people.cookie("ada"), people.token("ada", "viewer", "shop")
    renewed = sessions.renew(people.db, cookie)
    with people.db.reading() as session:
        rows = [str(row.model_dump()) for table in (BrowserSession, Token) for row in session.exec(select(table))]
    assert len(rows) == 2
    for shown in (cookie, text, str(renewed), PASSWORD):
        assert not any(shown in row for row in rows)
    for kept in (digest(str(renewed)), digest(text)):
        with pytest.raises(Unauthenticated):
            authenticate_session(people.db, kept)
        with pytest.raises(Unauthenticated):
            authenticate_token(people.db, kept)
    assert text not in repr(people.token) and "srn_" not in repr(tokens.list_tokens(people.db))


def test_what_is_no_whole_token_is_told_without_the_database() -> None:
    """It was cut, mistyped, or is something else."""
    text = tokens.new_token("p")
    check_whole(text)
    swapped = text[:-8] + text[-7] + text[-8] + text[-6:] if text[-7] != text[-8] else text[:-1]
    for wrong in ("", text[:-1], text + "a", text.upper(), swapped, text.replace("srn_p", "srn_s"), "srn_é" * 9):
        with pytest.raises(Unauthenticated, match="no whole token"):
            check_whole(wrong)


def test_a_token_is_one_of_this_servers_and_in_time(people: People) -> None:
    """Whoever shows the whole of it is told what became of it."""
    people.person("ada", "viewer shop")
    with pytest.raises(Unauthenticated, match="not known"):
        authenticate_token(people.db, tokens.new_token("p"))
    text = people.token("ada", "viewer", "shop", days=1)
    assert text.startswith("srn_p") and len(text) == 41
    people.age(Token, expires_at=24 * 3600 + 1)
    with pytest.raises(Unauthenticated, match="expired"):
        authenticate_token(people.db, text)


def test_a_token_says_when_it_was_last_used_once_a_minute(people: People) -> None:
    """So that one nobody uses is found, without a write at every request."""
    people.person("deploy", "viewer shop", service=True)
    text = people.token("deploy", "viewer", "shop")
    assert text.startswith("srn_s")

    def used() -> object:
        return tokens.list_tokens(people.db)[0].used_at

    assert used() is None
    authenticate_token(people.db, text)
    first = used()
    assert first is not None
    authenticate_token(people.db, text)
    assert used() == first
    people.age(Token, used_at=61)
    authenticate_token(people.db, text)
    assert used() > first  # type: ignore[operator]


def test_a_token_that_is_revoked_is_over(people: People) -> None:
    """By its owner, by the beginning of its id; nobody else's is found."""
    people.person("ada", "viewer shop")
    people.person("eve", "viewer shop")
    text = people.token("ada", "viewer", "shop")
    (made,) = tokens.list_tokens(people.db, "ada")
    eve, ada = people.logged_in("eve"), people.logged_in("ada")
    with pytest.raises(tokens.UnknownToken):
        tokens.revoke(people.db, made.id, actor=ROOT, by=eve)
    authenticate_token(people.db, text)
    assert tokens.revoke(people.db, made.id[:8], actor=ROOT, by=ada).revoked_by == "ada"
    with pytest.raises(Unauthenticated, match="revoked"):
        authenticate_token(people.db, text)
    assert tokens.list_tokens(people.db) == [] and len(tokens.list_tokens(people.db, ended=True)) == 1
    assert people.events("shop")[-1].action == "token.revoke"


def test_the_token_of_a_log_in_has_what_its_owner_has(people: People) -> None:
    """No more than that, and as it changes; it ends after some weeks."""
    people.person("ada", "runner shop/dev")
    account = accounts.get(people.db, "ada")
    made = tokens.create_for_log_in(people.db, account.id, "laptop", actor=ROOT)
    assert made.token.startswith("srn_c")
    who = authenticate_token(people.db, made.token)
    assert people.may(who, "use", "shop/dev") and not people.may(who, "use", "shop/prod")
    people.give("ada", "viewer bank")
    assert people.may(authenticate_token(people.db, made.token), "see", "bank")
    people.take("ada", "runner shop/dev")
    assert not people.may(authenticate_token(people.db, made.token), "see", "shop/dev")
    assert (made.made.expires_at - made.made.created_at).days == tokens.LOG_IN_DAYS
    accounts.disable(people.db, "ada", actor=ROOT)
    with pytest.raises(Unauthenticated):
        tokens.create_for_log_in(people.db, account.id, "laptop", actor=ROOT)


def test_who_is_deleted_is_gone_with_all_they_had(people: People) -> None:
    """Another one of the same name begins with nothing."""
    people.person("ada", "admin shop")
    people.person("root", "admin")
    cookie, text = people.cookie("ada"), people.token("ada", "viewer", "shop")
    accounts.delete_account(people.db, "ada", actor=ROOT)
    people.person("ada")
    with pytest.raises(Unauthenticated):
        authenticate_session(people.db, cookie)
    with pytest.raises(Unauthenticated):
        authenticate_token(people.db, text)
    assert people.logged_in("ada").grants == ()
