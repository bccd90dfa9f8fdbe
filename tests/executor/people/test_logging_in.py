"""Logging in with a password: nobody learns who has an account, and guessing is counted, whichever process is asked."""

import threading

import pytest

from executor.errors import PasswordRefused, TooManyAttempts, Unauthenticated
from executor.people import accounts, passwords, throttle
from executor.people.logging_in import log_in, log_in_oidc
from executor.people.sessions import authenticate_session
from executor.people.tables import Attempts
from secretstore.database import Database
from secretstore.errors import AlreadyExists, NameRefused
from tests.executor.people.conftest import PASSWORD, ROOT, People

HERE = "192.0.2.7"
ISSUER = "https://id.example.com"


def test_a_name_and_its_password_begin_a_session(people: People) -> None:
    """It is on record, with from where."""
    people.person("ada", "viewer shop")
    new = log_in(people.db, "ada", PASSWORD, HERE)
    assert new.principal == authenticate_session(people.db, new.cookie)
    assert people.may(new.principal, "see", "shop")
    last = people.events()[-1]
    assert (last.action, last.actor, last.outcome) == ("user.log-in", "ada", "done")
    assert HERE in last.detail and PASSWORD not in last.detail


def test_who_has_no_account_is_answered_as_who_has_a_wrong_password(people: People) -> None:
    """In the same words, whether disabled, unknown, a service account or an issuer's person; after the same work."""
    people.person("ada")
    people.person("bob")
    people.person("robot", service=True)
    log_in_oidc(people.db, ISSUER, "sub-1", "carol", [], HERE)
    accounts.disable(people.db, "bob", actor=ROOT)
    tries = [("ada", "not the password"), ("bob", PASSWORD), ("robot", ""), ("carol", ""), ("nobody", PASSWORD)]
    verified = []
    hasher = passwords._HASHER

    class Counting:
        def verify(self, kept: str, given: str) -> bool:
            verified.append(given)
            return hasher.verify(kept, given)

        hash = hasher.hash
        check_needs_rehash = hasher.check_needs_rehash

    passwords._HASHER = Counting()  # type: ignore[assignment]  # the fixture puts back what there was
    answers = set()
    for name, given in tries:
        with pytest.raises(Unauthenticated) as refused:
            log_in(people.db, name, given, HERE)
        answers.add((str(refused.value), refused.value.hint, type(refused.value)))
    assert len(answers) == 1
    assert verified == [given for _, given in tries]


def test_guessing_is_stopped_for_an_account_from_wherever_it_comes(people: People) -> None:
    """Also the right password then, until the window is over; and an unknown name is treated the same."""
    people.person("ada")
    for name in ("ada", "nobody"):
        for number in range(throttle.LOG_IN_OF_ACCOUNT.attempts):
            with pytest.raises(Unauthenticated):
                log_in(people.db, name, "not the password", f"192.0.2.{number}")
        with pytest.raises(TooManyAttempts) as refused:
            log_in(people.db, name, PASSWORD, "198.51.100.1")
        assert 0 < refused.value.names["seconds"] <= throttle.LOG_IN_OF_ACCOUNT.seconds
    told = [event.subject for event in people.events() if event.outcome == "refused"]
    assert told == ["ada", "(unknown)"], "once a window, and a name that nobody has is not repeated"
    people.age(Attempts, ends_at=throttle.LOG_IN_OF_ACCOUNT.seconds)
    log_in(people.db, "ada", PASSWORD, "198.51.100.1")


def test_guessing_is_stopped_from_a_network_whichever_account_it_tries(people: People) -> None:
    """An IPv6 customer has a whole network of addresses, which are one place."""
    people.person("ada")
    for number in range(throttle.LOG_IN_FROM_ADDRESS.attempts):
        with pytest.raises(Unauthenticated):
            log_in(people.db, f"name{number}", "not the password", f"2001:db8:1:2::{number:x}")
    with pytest.raises(TooManyAttempts):
        log_in(people.db, "ada", PASSWORD, "2001:db8:1:2:ffff::1")
    log_in(people.db, "ada", PASSWORD, "2001:db8:1:3::1")


def test_a_right_password_begins_the_count_anew(people: People) -> None:
    """Whoever mistypes now and then is not kept out."""
    people.person("ada")
    for _ in range(3):
        for _ in range(throttle.LOG_IN_OF_ACCOUNT.attempts - 1):
            with pytest.raises(Unauthenticated):
                log_in(people.db, "ada", "not the password", HERE)
        people.age(Attempts, ends_at=0)
        log_in(people.db, "ada", PASSWORD, "198.51.100.1")
        with people.db.writing() as session:
            throttle_key = throttle.key_of(throttle.LOG_IN_FROM_ADDRESS, HERE)
            session.delete(session.get_one(Attempts, throttle_key))


def test_attempts_at_once_are_each_counted(people: People) -> None:
    """From several connections, as of several processes: none is let through uncounted."""
    limit = throttle.Limit("test", 5, 60)
    outcomes: list[bool] = []

    def attempt() -> None:
        db = Database(people.db.engine.url.render_as_string(hide_password=False))
        try:
            throttle.take(db, (limit, "ada"), (throttle.LOG_IN_FROM_ADDRESS, HERE))
            outcomes.append(True)
        except TooManyAttempts:
            outcomes.append(False)
        finally:
            db.close()

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 3 + [True] * 5


def test_one_place_has_many_addresses() -> None:
    """What counts together."""
    assert throttle.site_of("::ffff:192.0.2.7") == throttle.site_of("192.0.2.7") == "192.0.2.7"
    assert throttle.site_of("fe80::1%eth0") == "fe80::/64"
    assert throttle.site_of("a unix socket") == "a unix socket"


def test_a_password_is_kept_anew_once_the_parameters_changed(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next log-in, which alone knows it."""
    people.person("ada")

    def kept() -> str:
        with people.db.reading() as session:
            return str(accounts.account_named(session, "ada").password)

    before = kept()
    log_in(people.db, "ada", PASSWORD, HERE)
    assert kept() == before
    monkeypatch.setattr(passwords, "_HASHER", passwords.PasswordHasher(time_cost=2, memory_cost=512, parallelism=1))
    log_in(people.db, "ada", PASSWORD, HERE)
    assert kept() != before and "t=2" in kept()
    log_in(people.db, "ada", PASSWORD, HERE)


def test_a_password_is_long_and_not_the_first_one_would_try() -> None:
    """Length is all that is asked for; the same text typed on another keyboard is the same."""
    for wrong in ("", "short", "x" * 11, "x" * 20, "ababababababab", "a" + "b" * 300, "administrator1"):
        with pytest.raises(PasswordRefused) as refused:
            passwords.hashed(wrong, "administrator")
        assert wrong == "" or wrong not in str(refused.value)
    assert passwords.fits(passwords.hashed("Zu\u0308rich im Regen"), "Z\u00fcrich im Regen")
    assert not passwords.fits("not a hash", PASSWORD)
    assert not passwords.fits(None, "nobody has this password")


def test_the_parameters_are_those_of_the_rfc() -> None:
    """RFC 9106's second recommendation: what is kept is Argon2id with 64 MiB."""
    assert (passwords.MEMORY_KIB, passwords.PASSES, passwords.LANES) == (65536, 3, 4)


def test_a_person_is_whom_an_issuer_says_and_no_name_or_address(people: People) -> None:
    """Another issuer, or another subject, with the same name is another person; the names are told apart."""
    people.person("ada", "admin shop")
    first = log_in_oidc(people.db, ISSUER, "sub-1", "Ada", [], HERE).principal
    again = log_in_oidc(people.db, ISSUER, "sub-1", "changed@example.com", [], HERE).principal
    other = log_in_oidc(people.db, "https://other.example", "sub-1", "ada", [], HERE).principal
    assert first.id == again.id != other.id
    assert (first.name, again.name, other.name) == ("ada-2", "ada-2", "ada-3")
    assert first.grants == other.grants == ()
    assert log_in_oidc(people.db, ISSUER, "sub-9", "  \u0430\u0434\u0430 ", [], HERE).principal.name == "somebody"


def test_who_is_disabled_does_not_come_back_by_their_issuer(people: People) -> None:
    """The issuer says who it is; whether they are let in is ours to say."""
    new = log_in_oidc(people.db, ISSUER, "sub-1", "ada", [], HERE)
    accounts.disable(people.db, "ada", actor=ROOT)
    with pytest.raises(Unauthenticated):
        log_in_oidc(people.db, ISSUER, "sub-1", "ada", [], HERE)
    with pytest.raises(Unauthenticated):
        authenticate_session(people.db, new.cookie)


def test_a_new_password_ends_all_sessions(people: People) -> None:
    """Whoever had the old one is out."""
    people.person("ada")
    cookie = people.cookie("ada")
    accounts.set_password(people.db, "ada", "another correct horse", actor=ROOT)
    with pytest.raises(Unauthenticated):
        authenticate_session(people.db, cookie)
    with pytest.raises(Unauthenticated):
        log_in(people.db, "ada", PASSWORD, HERE)
    log_in(people.db, "ada", "another correct horse", HERE)
    people.person("robot", service=True)
    with pytest.raises(NameRefused):
        accounts.set_password(people.db, "robot", PASSWORD, actor=ROOT)


def test_a_name_is_one_accounts_and_can_be_shown_anywhere(people: People) -> None:
    """It stands in the record: nobody takes another's, or one with strange characters."""
    people.person("ada")
    with pytest.raises(AlreadyExists):
        people.person("ada")
    for wrong in ("", "Ada", "a da", "-a", "a" * 64, "\u0430da", "a\n"):
        with pytest.raises(NameRefused):
            people.person(wrong)
