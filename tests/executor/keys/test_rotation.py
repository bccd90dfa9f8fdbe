"""A rotation's process holds the old key and every value, and puts out ciphertext alone."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import select

from executor import database, runs
from executor.boundary.supervision import Zygote
from executor.boundary.wire import Kind, Receiver, send
from executor.errors import KeyOperationFailed, VersionsBroken
from executor.keys import creation, rotation
from executor.keys.creation import birth, rewrapped
from executor.keys.rotation import rotate
from executor.runs.grant import Given
from executor.settings import Settings, read_settings
from executor.worker import janitor
from secretstore import audit_reading, vault
from secretstore.bundle import items_to_json
from secretstore.database import Database
from secretstore.errors import KeyChanged
from secretstore.key_files import create_local_key
from secretstore.key_service import KeyPlace
from secretstore.keyring import generate_wrapped
from secretstore.local_keys import LocalKeys
from secretstore.models import KeyPair, Secret, SecretVersion
from secretstore.pin import Pin
from secretstore.pins import Pins
from secretstore.reveal import reveal
from tests.conftest import database_for
from tests.executor.conftest import ROOT, Bench, OrdinaryUser
from tests.leaks.evidence import Search, memory
from tests.processes import children, eventually, is_alive, name

ACTOR = vault.Actor("ada@here", "test")
VALUES = {"API_KEY": b"hunter2-prod-key-8841", "TLS_KEY": b"-----BEGIN-----\nline of a key\n" * 40}


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """A home with a key file, and the test's database."""
    found = read_settings({"SEALRUN_HOME": str(tmp_path / "home"), "SEALRUN_DATABASE_URL": database_url})
    create_local_key(key_file(found))
    return found


@pytest.fixture
def pins(settings: Settings, db: Database) -> Pins:
    """What who rotates knows."""
    return Pins(settings.store.home / "known_keys", db.url_shown)


@pytest.fixture
def shop(settings: Settings, db: Database, pins: Pins) -> Database:
    """A project with two secrets, one of them in two versions."""
    vault.create_project(db, "shop", actor=ACTOR, birth=birth(settings))
    for value in (b"an-older-value-of-it", VALUES["API_KEY"]):
        vault.put(db, "shop", "default", "API_KEY", value, actor=ACTOR, pins=pins)
    vault.put(db, "shop", "default", "TLS_KEY", VALUES["TLS_KEY"], actor=ACTOR, pins=pins)
    return db


def key_file(settings: Settings) -> Path:
    return Path(settings.store.keys.removeprefix("local:"))


def opened(db: Database, keys: Path) -> dict[str, bytes]:
    place = vault.get_environment(db, "shop", "default")
    with db.writing() as session:
        bundle = vault.sealed_bundle(session, place.id, None)
    return {item.name: value for item, value in reveal(LocalKeys(keys), bundle)}


def spoil(db: Database, name: str) -> None:
    """One bit of a secret's latest version changes."""
    with db.writing() as session:
        query = select(SecretVersion).where(SecretVersion.secret_id == Secret.id, Secret.name == name)
        row = session.exec(query.order_by(SecretVersion.version.desc())).first()
        assert row is not None
        row.sealed = row.sealed[:-1] + bytes([row.sealed[-1] ^ 1])


def states(db: Database) -> list[tuple[int, str]]:
    return [(view.generation, view.state) for view in vault.list_keys(db, "shop", "default")]


def test_a_rotation_from_end_to_end(shop: Database, settings: Settings, pins: Pins) -> None:
    """New pair, all versions sealed anew, the pin of who rotates goes on, the old one is destroyed; and once more."""
    before = vault.get_environment(shop, "shop", "default")
    steps: list[tuple[str, int]] = []
    done = rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins, tell=lambda *step: steps.append(step))
    assert (done.generation, done.resealed, done.previous) == (2, 3, before.fingerprint)
    assert steps == [("begun", 2), ("resealed", 3), ("flipping", 3), ("flipped", 3)]
    assert opened(shop, key_file(settings)) == VALUES
    assert pins.known("shop", "default") == Pin(before.project_id, before.id, 2, done.fingerprint)
    assert [view.generation for view in rotation.destroy_unused(shop, ACTOR)] == [1]
    assert rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins).generation == 3
    assert states(shop) == [(1, "destroyed"), (2, "kept"), (3, "current")] and audit_reading.verify(shop, "shop").ok


def test_versions_that_do_not_open_stop_it_or_are_left_behind(shop: Database, settings: Settings, pins: Pins) -> None:
    """I9: named, and nothing is changed, unless who rotates gives them up by name."""
    spoil(shop, "API_KEY")
    with pytest.raises(VersionsBroken, match=r"(?m)has 1 version\(s\) that cannot be opened: API_KEY 2$"):
        rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins)
    assert states(shop) == [(1, "current")]
    done = rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins, drop_broken=True)
    assert (done.left_behind, done.resealed) == (("API_KEY 2",), 2)
    assert json.loads(audit_reading.list_events(shop, "shop")[-1].detail)["left_behind"] == 1


@pytest.mark.parametrize("change", ["version = -1", "sealed = :long"])
def test_rows_that_no_sealrun_wrote_are_left_behind_too(
    shop: Database, settings: Settings, pins: Pins, change: str
) -> None:
    """I9: a number that no version has, or more bytes than a frame may have: named, and given up with --drop-broken."""
    with shop.writing() as session:
        where = "WHERE version = 1 AND secret_id = (SELECT id FROM secretstore_secret WHERE name = 'API_KEY')"
        given = {"long": bytes(50 << 20)} if ":long" in change else {}
        session.connection().execute(text(f"UPDATE secretstore_secret_version SET {change} {where}"), given)
    with pytest.raises(VersionsBroken, match=r"(?m)has 1 version\(s\) that cannot be opened: API_KEY -?1$"):
        rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins)
    assert rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins, drop_broken=True).resealed == 2
    assert opened(shop, key_file(settings)) == VALUES


def test_a_pair_of_somebodys_own_under_the_known_public_key_is_not_rotated(
    shop: Database, settings: Settings, pins: Pins
) -> None:
    """I2: what is unwrapped has to be the private half of the public key that is known, whatever the row claims."""
    place = vault.get_environment(shop, "shop", "default")
    keys = LocalKeys(key_file(settings))
    own = generate_wrapped(keys, KeyPlace("shop", place.project_id, "default", place.id), 1)
    with shop.writing() as session:
        pair = session.get_one(KeyPair, (place.id, 1))
        pair.fingerprint, pair.wrapped_private_key = own.fingerprint, own.wrapped
        session.connection().execute(text("DELETE FROM secretstore_secret"))
    with pytest.raises(KeyOperationFailed, match="does not unwrap"):
        rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins)
    assert states(shop) == [(1, "current")]


def test_a_key_service_that_cannot_be_used_changes_nothing(shop: Database, settings: Settings, pins: Pins) -> None:
    """Its own sentence and hint, no pending key pair, and the next try goes through."""
    away = key_file(settings).with_name("away")
    key_file(settings).rename(away)
    with pytest.raises(KeyOperationFailed, match="no key file at") as caught:
        rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins)
    assert "restore your copy" in str(caught.value.hint) and states(shop) == [(1, "current")]
    away.rename(key_file(settings))
    assert rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins).generation == 2


def test_an_unknown_key_pair_is_not_rotated(shop: Database, settings: Settings, pins: Pins) -> None:
    """I2: who rotates seals to what is there now's successor, so what is there now has to be known."""
    place = vault.get_environment(shop, "shop", "default")
    pins.remember("shop", "default", Pin(place.project_id, place.id, 1, "0" * 64))
    with pytest.raises(KeyChanged):
        rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins)
    assert states(shop) == [(1, "current")]


def test_past_keys_are_kept_while_a_run_in_flight_was_given_them(
    shop: Database, settings: Settings, pins: Pins, bench: Bench
) -> None:
    """As its receipt says; destroyed by the janitor after it. One that waits, or was given nothing, keeps nothing."""
    here = vault.get_environment(shop, "shop", "default")
    place = {"project_id": here.project_id, "environment_id": here.id}
    lease = bench.claim(shop, bench.create(shop, **place))
    runs.pass_gate(
        shop,
        lease,
        lambda session: Given.as_variables(vault.sealed_bundle(session, here.id, None)),
        rung="landlock",
        controls={},
    )
    bench.running(shop, **place)
    bench.create(shop, **place)
    for _ in range(2):
        rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins)
    assert janitor.destroy_unused_keys(shop, ACTOR) == 1
    assert states(shop) == [(1, "kept"), (2, "destroyed"), (3, "current")]
    runs.finish(shop, lease, runs.Outcome("succeeded"))
    assert janitor.destroy_unused_keys(shop, ACTOR) == 1
    assert states(shop) == [(1, "destroyed"), (2, "destroyed"), (3, "current")]


class TestProcess:
    @pytest.fixture(params=["sqlite"])
    def database_url(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
        """What the process does not see is tried on one kind alone."""
        with database_for(request, tmp_path, database.migrate) as url:
            yield url

    @pytest.fixture
    def zygote(self) -> Iterator[Zygote]:
        """A zygote of the test's own."""
        started = Zygote()
        started.start()
        yield started
        started.stop()

    def test_what_it_says_is_ciphertext(self, shop: Database, settings: Settings, pins: Pins, zygote: Zygote) -> None:
        """I1: in all its frames there is no value and no private key; it ends when its channel is closed."""
        begun = vault.sealing_key(shop, "shop", "default", pins=pins)
        request = {"access": {"keys": settings.store.keys}, "place": vars(begun.place), "pair": begun.pair.to_json()}
        said = b""
        with zygote.resealer() as resealing:
            channel = resealing.channel
            answers = Receiver(channel)
            send(channel, Kind.ROTATE, request)
            frame = answers.receive(30)
            assert frame is not None and frame.kind is Kind.SUCCESSOR
            said += frame.payload
            (process,) = [pid for pid in children(zygote.pid or 0) if name(pid) == "sealrun-reseal"]
            no_rows_yet = vault.Rotation(begun.place, begun.pair, replace(begun.pair, generation=2), None)
            (items,) = vault.unresealed(shop, no_rows_yet)
            send(channel, Kind.RESEAL, items_to_json(items))
            frame = answers.receive(30)
            assert frame is not None and frame.kind is Kind.RESEALED and len(frame.json()["sealed"]) == 3
            said += frame.payload
            found = Search({("API_KEY", "raw"): VALUES["API_KEY"]}).within("process", memory(process))
            assert found, "the process that opens has seen the value, so the search below can find one"
        eventually(lambda: not is_alive(process), 10, "the process ends with its channel")
        needles = {(key, "raw"): value for key, value in VALUES.items()}
        needles |= {(key, "hex"): value.hex().encode() for key, value in VALUES.items()}
        assert Search(needles).within("frames", [said]) == set()
        assert Search(needles).within("zygote", memory(zygote.pid or 0)) == set()

    def test_the_process_that_asks_never_holds_a_value(
        self, shop: Database, settings: Settings, tmp_path: Path
    ) -> None:
        """I1: the memory of a whole `key rotate` is read after it: neither a value nor the private key."""
        code = (
            "import sys; sys.path[:0] = [sys.argv[1]]\n"
            "from executor.keys.rotation import rotate; from executor.settings import read_here\n"
            "from executor.database import open_database; from secretstore import vault\n"
            "from secretstore.database import Database; from secretstore.pins import Pins\n"
            "settings = read_here(); db = Database(settings.store.database_url)\n"
            "pins = Pins(settings.store.home / 'known_keys', db.url_shown)\n"
            "done = rotate(settings, db, 'shop', 'default', actor=vault.Actor('a', 't'), pins=pins)\n"
            "print(done.resealed, flush=True)\n"
            "sys.stdin.read()\n"
        )
        environ = {"SEALRUN_HOME": str(settings.store.home), "SEALRUN_DATABASE_URL": settings.store.database_url}
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [sys.executable, "-c", code, str(ROOT)], env=environ, stdin=pipe, stdout=pipe, text=True
        ) as asking:
            assert asking.stdin and asking.stdout
            assert asking.stdout.readline() == "3\n"
            with shop.reading() as session:
                pair = session.exec(select(KeyPair).where(KeyPair.generation == 1)).one()
            assert pair.wrapped_private_key is not None
            needles = {(key, "raw"): value for key, value in VALUES.items()}
            control = {("public key", "raw"): pair.public_key}
            try:
                found = Search({**needles, **control}).within("asker", memory(asking.pid))
            except PermissionError:
                pytest.skip("this user may not read the memory of its own child")
            finally:
                asking.stdin.close()
        assert {finding.canary for finding in found} == {"public key"}, "the control is found, and nothing else"

    def test_it_cannot_be_read_by_its_own_user(self, as_ordinary_user: OrdinaryUser) -> None:
        """I1: while it waits for its request already, /proc gives its memory to root alone."""
        code = """
import sys, time
sys.path[:0] = [sys.argv[1]]
from executor.boundary.supervision import Zygote
from executor.sandbox import tree
zygote = Zygote()
zygote.start()
with zygote.resealer():
    until = time.monotonic() + 20
    while time.monotonic() < until and not tree.children(zygote.pid):
        time.sleep(0.01)
    (pid,) = tree.children(zygote.pid)
    try:
        open(f"/proc/{pid}/mem", "rb").close()
        print("open")
    except PermissionError:
        print("closed")
zygote.stop()
"""
        ended = as_ordinary_user(code, ROOT)
        assert (ended.stdout, ended.stderr) == ("closed\n", "")

    def test_a_process_that_dies_is_an_error_and_changes_nothing(
        self, shop: Database, settings: Settings, pins: Pins
    ) -> None:
        """Killed between two batches: one sentence, the old key pair stays current, and the next rotation counts."""

        def kill(step: str, _: int) -> None:
            if step == "begun":
                (zygote,) = [pid for pid in children(os.getpid()) if name(pid) == "sealrun-zygote"]
                (process,) = [pid for pid in children(zygote) if name(pid) == "sealrun-reseal"]
                os.kill(process, signal.SIGKILL)

        with pytest.raises(KeyOperationFailed, match="the sealing process ended"):
            rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins, tell=kill)
        assert states(shop) == [(1, "current"), (2, "pending")]
        done = rotate(settings, shop, "shop", "default", actor=ACTOR, pins=pins)
        assert done.discarded is not None and opened(shop, key_file(settings)) == VALUES


class TestRewrap:
    @pytest.fixture(params=["sqlite"])
    def database_url(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
        """The rows are tried on both kinds in the store's own tests."""
        with database_for(request, tmp_path, database.migrate) as url:
            yield url

    @pytest.fixture
    def both(self, settings: Settings, shop: Database) -> Settings:
        """A new key file before the old one, and a second environment."""
        vault.create_environment(shop, "shop", "staging", actor=ACTOR, birth=birth(settings))
        create_local_key(settings.store.home / "new" / "local.key")
        return read_settings(
            {
                "SEALRUN_HOME": str(settings.store.home),
                "SEALRUN_DATABASE_URL": settings.store.database_url,
                "SEALRUN_KEYS": f"local:{settings.store.home}/new/local.key,{settings.store.keys}",
            }
        )

    def move(self, db: Database, settings: Settings) -> list[tuple[str, int]]:
        return [
            (key.place.environment, pair.generation)
            for key, pair in rewrapped(settings, vault.keys_to_rewrap(db, "shop"))
            if vault.replace_wrapping(db, key, pair.key_service, pair.wrapped, actor=ACTOR)
        ]

    def test_keys_move_from_one_key_file_to_another(self, shop: Database, both: Settings) -> None:
        """In a process of their own; said again it finds nothing to do; the new file alone opens everything."""
        assert self.move(shop, both) == [("default", 1), ("staging", 1)]
        assert self.move(shop, both) == []
        assert opened(shop, both.store.home / "new" / "local.key") == VALUES

    def test_those_of_later_processes_are_moved_too(
        self, shop: Database, both: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One bad row, first by name, does not keep all that come after it under the old key service."""
        monkeypatch.setattr(creation, "_AT_ONCE", 1)
        with shop.writing() as session:
            place = vault.get_environment(shop, "shop", "default")
            session.get_one(KeyPair, (place.id, 1)).wrapped_private_key = b"nobody's"
        with pytest.raises(Exception, match="shop/default, generation 1: the wrapped private key does not unwrap"):
            self.move(shop, both)
        keys = {view.environment: view.key_service for view in vault.list_keys(shop, "shop")}
        assert keys["staging"] == LocalKeys(both.store.home / "new" / "local.key").id

    def test_one_that_does_not_unwrap_is_named_and_the_others_are_moved(self, shop: Database, both: Settings) -> None:
        """I10: project, environment, generation and why; those that can be moved are moved."""
        with shop.writing() as session:
            place = vault.get_environment(shop, "shop", "default")
            pair = session.get_one(KeyPair, (place.id, 1))
            pair.wrapped_private_key = (pair.wrapped_private_key or b"")[:-1] + b"\0"
        with pytest.raises(Exception, match="shop/default, generation 1: the wrapped private key does not unwrap"):
            self.move(shop, both)
        keys = {view.environment: view.key_service for view in vault.list_keys(shop, "shop")}
        new = LocalKeys(both.store.home / "new" / "local.key").id
        assert keys["staging"] == new != keys["default"]
