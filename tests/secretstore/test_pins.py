"""A sealer remembers key pairs, and goes on to another one only if those in between vouched for it. I2."""

import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import Session, select

from secretstore import sealing, vault
from secretstore.database import Database
from secretstore.errors import FingerprintWrong, KeyChanged, KnownKeysUnusable
from secretstore.key_service import KeyPlace, KeyService, WrappedKeyPair
from secretstore.keyring import generate_wrapped, wrapping_context
from secretstore.local_keys import LocalKeys
from secretstore.models import Environment, KeyPair, Project
from secretstore.pin import Pin
from secretstore.pins import Pins
from secretstore.sealing import PrivateKey, succession
from secretstore.vault import Actor
from tests.secretstore.conftest import Rotate

IDS = "1" * 32, "2" * 32


@pytest.fixture
def store(shop: Database, actor: Actor, pins: Pins) -> Callable[..., object]:
    """Stores a secret as the sealer whose pins these are."""

    def put(environment: str = "default", name: str = "API_KEY", pins: Pins = pins) -> object:
        return vault.put(shop, "shop", environment, name, b"hunter2-prod-key", actor=actor, pins=pins)

    return put


def place_of(session: Session, environment: str = "default") -> tuple[Project, Environment]:
    query = select(Project, Environment).where(
        Project.name == "shop", Environment.project_id == Project.id, Environment.name == environment
    )
    return session.exec(query).one()


def pair_of(session: Session, environment: str = "default", generation: int | None = None) -> KeyPair:
    _, found = place_of(session, environment)
    return session.get_one(KeyPair, (found.id, generation or found.generation))


def test_the_first_use_is_remembered_in_a_file_one_can_read(
    shop: Database, store: Callable[..., object], pins: Pins
) -> None:
    """One line an environment: project, environment, generation, fingerprint, database; for its owner alone."""
    store()
    store("staging")
    marks = {name: vault.get_environment(shop, "shop", name).fingerprint for name in ("default", "staging")}
    lines = [line for line in pins.file.read_text().splitlines() if not line.startswith("#")]
    with shop.reading() as session:
        ids = {name: " ".join(place.id for place in place_of(session, name)) for name in marks}
    assert lines == [f"shop {name} 1 {mark} {ids[name]} {pins.server}" for name, mark in marks.items()]
    assert stat.S_IMODE(pins.file.stat().st_mode) == 0o600
    before = pins.file.stat().st_ino
    store()
    assert pins.file.stat().st_ino == before, "what is known already is not written again"


def test_vouched_for_generations_are_followed(
    shop: Database, store: Callable[..., object], pins: Pins, rotate: Rotate
) -> None:
    """Two rotations by a colleague: each generation has vouched for the next, and the pin goes on to the last."""
    store()
    rotate(shop)
    latest = rotate(shop)
    store()
    assert pins.known("shop", "default") == latest and latest.generation == 3


def test_two_databases_have_their_own_key_pairs(store: Callable[..., object], pins: Pins) -> None:
    """The same names in another database are a first use there; the file keeps both."""
    store()
    other = Pins(pins.file, "postgresql://else where/shop")
    assert other.known("shop", "default") is None
    other.remember("shop", "default", Pin(*IDS, 7, "a" * 64))
    assert other.known("shop", "default") == Pin(*IDS, 7, "a" * 64) and pins.known("shop", "default") != Pin(
        *IDS, 7, "a" * 64
    )
    other.forget("shop")
    assert other.known("shop", "default") is None and pins.known("shop", "default") is not None


class TestRefused:
    """I2: what a database writer can do to the key pairs of an environment that a sealer knows."""

    def refused(self, store: Callable[..., object], pins: Pins, *words: str) -> None:
        before = pins.file.read_bytes()
        with pytest.raises(KeyChanged) as caught:
            store(name="NEXT")
        for word in ("shop/default", "is remembered here", *words):
            assert word in str(caught.value), str(caught.value)
        assert "sealrun key trust -p shop -e default FINGERPRINT" in str(caught.value.hint)
        assert pins.file.read_bytes() == before

    def test_a_key_pair_of_somebodys_own(self, shop: Database, store: Callable[..., object], pins: Pins) -> None:
        """Another public key in the row, the fingerprint column adapted; and with the column left as it was."""
        store()
        theirs = sealing.generate_private_key().public_key()
        for mark in (sealing.fingerprint(theirs), vault.get_environment(shop, "shop", "default").fingerprint):
            with shop.writing() as session:
                pair = pair_of(session)
                pair.public_key, pair.fingerprint = theirs.to_bytes(), mark
            self.refused(store, pins, "another fingerprint", sealing.fingerprint(theirs)[:16])

    def test_swapped_with_another_environments(self, shop: Database, store: Callable[..., object], pins: Pins) -> None:
        """Production's sealer does not seal to the key pair of staging."""
        store()
        with shop.writing() as session:
            ours, theirs = pair_of(session), pair_of(session, "staging")
            for column in ("public_key", "fingerprint", "wrapped_private_key"):
                setattr(ours, column, getattr(theirs, column))
        self.refused(store, pins, "another fingerprint")

    def test_a_generation_set_back(
        self, shop: Database, store: Callable[..., object], pins: Pins, rotate: Rotate
    ) -> None:
        """An older generation made current again: a restored database, or a replay of a key that was given up."""
        store()
        rotate(shop)
        store()
        with shop.writing() as session:
            place_of(session)[1].generation = 1
        self.refused(store, pins, "generation 1", "step back")

    def test_an_older_pair_under_a_newer_number(
        self, shop: Database, store: Callable[..., object], pins: Pins, rotate: Rotate
    ) -> None:
        """A key pair that was given up, resurrected as the next generation with the voucher it has: not vouched for."""
        store()
        with shop.reading() as session:
            first = pair_of(session).model_dump()
        rotate(shop)
        store()
        with shop.writing() as session:
            session.add(KeyPair(**first | {"generation": 3, "voucher": pair_of(session).voucher}))
            place_of(session)[1].generation = 3
        self.refused(store, pins, "generation 3", "not vouched for")

    def test_a_next_generation_without_a_right_voucher(
        self, shop: Database, store: Callable[..., object], pins: Pins, keys: LocalKeys
    ) -> None:
        """None, nonsense, one for another environment, one by the new key itself, one for another number."""
        store()
        theirs = sealing.generate_private_key()
        with shop.reading() as session:
            _, environment = place_of(session)
            _, other = place_of(session, "staging")
            current = pair_of(session)
            known = _private(keys, session, current)
        about = (environment.project_id, environment.id, 1, current.fingerprint, 2, theirs.fingerprint)
        for voucher in (
            None,
            b"",
            b"x" * 64,
            known.vouch(succession(about[0], other.id, *about[2:])),
            theirs.vouch(succession(*about)),
            known.vouch(succession(*about[:4], 3, theirs.fingerprint)),
        ):
            _plant(shop, theirs, 2, voucher)
            self.refused(store, pins, "generation 2", theirs.fingerprint[:16], "not vouched for")
        _plant(shop, theirs, 2, known.vouch(succession(*about)))
        store()

    def test_a_voucher_replayed_from_another_environment(
        self, shop: Database, store: Callable[..., object], pins: Pins, rotate: Rotate
    ) -> None:
        """Staging's whole chain put in the place of the default environment's: it starts from another key."""
        store()
        rotate(shop, "staging")
        with shop.writing() as session:
            _, environment = place_of(session)
            for generation in (1, 2):
                copied = pair_of(session, "staging", generation).model_dump()
                session.merge(KeyPair(**copied | {"environment_id": environment.id}))
            environment.generation = 2
        self.refused(store, pins, "generation 1 has another fingerprint")

    def test_a_gap(self, shop: Database, store: Callable[..., object], pins: Pins, rotate: Rotate) -> None:
        """A generation in between that is gone, and a number that was never there."""
        store()
        rotate(shop)
        rotate(shop)
        with shop.writing() as session:
            session.delete(pair_of(session, generation=2))
        self.refused(store, pins, "generation 2 is missing")
        with shop.writing() as session:
            place_of(session)[1].generation = 2_000_000_000
        with pytest.raises(KeyChanged, match="its generation 2000000000 is missing"):
            store(name="NEXT")

    def test_an_environment_made_anew(
        self, shop: Database, store: Callable[..., object], pins: Pins, birth: vault.Birth, actor: Actor
    ) -> None:
        """Deleted and created again by somebody else: the names are known, so it is no first use."""
        store()
        vault.delete_environment(shop, "shop", "default", actor=actor)
        vault.create_environment(shop, "shop", "default", actor=actor, birth=birth)
        self.refused(store, pins, "the environment has another id", "recreated")

    def test_an_unreadable_public_key(self, shop: Database, store: Callable[..., object], pins: Pins) -> None:
        """Bytes that are no key."""
        store()
        with shop.writing() as session:
            pair_of(session).public_key = b"nonsense"
        with pytest.raises(KeyChanged, match="no readable public key"):
            store(name="NEXT")


def _key_place(project: Project, environment: Environment) -> KeyPlace:
    return KeyPlace(project.name, project.id, environment.name, environment.id)


def _private(keys: KeyService, session: Session, pair: KeyPair) -> PrivateKey:
    project, environment = place_of(session)
    context = wrapping_context(_key_place(project, environment), pair.fingerprint)
    return PrivateKey.from_bytes(keys.unwrap(pair.wrapped_private_key or b"", context))


def _plant(db: Database, theirs: PrivateKey, generation: int, voucher: bytes | None) -> None:
    """A key pair of somebody's own as the environment's current one."""
    with db.writing() as session:
        _, environment = place_of(session)
        session.merge(
            KeyPair(
                environment_id=environment.id,
                generation=generation,
                public_key=theirs.public_key().to_bytes(),
                fingerprint=theirs.fingerprint,
                key_service="local:0",
                wrapped_private_key=b"theirs",
                voucher=voucher,
                created_by="mallory",
            )
        )
        environment.generation = generation


class TestTrust:
    def test_a_fingerprint_in_full_or_its_first_sixteen_digits(
        self, shop: Database, store: Callable[..., object], pins: Pins, birth: vault.Birth, actor: Actor
    ) -> None:
        """What a person has compared is remembered from then on; fifteen digits, or another's, are refused."""
        store()
        vault.delete_environment(shop, "shop", "default", actor=actor)
        mark = vault.create_environment(shop, "shop", "default", actor=actor, birth=birth).fingerprint
        for wrong in (mark[:15], "0" * 64, "", "default", mark + "0"):
            with pytest.raises(FingerprintWrong):
                vault.trust_key(shop, "shop", "default", wrong, pins=pins)
        with pytest.raises(KeyChanged):
            store()
        assert vault.trust_key(shop, "shop", "default", mark[:16].upper(), pins=pins).fingerprint == mark
        store()

    def test_the_right_beginning_that_is_too_short_is_called_too_short(self, shop: Database, pins: Pins) -> None:
        """And not another key pair's."""
        mark = vault.get_environment(shop, "shop", "default").fingerprint
        with pytest.raises(FingerprintWrong, match=f"{mark[:15]} is too short"):
            vault.trust_key(shop, "shop", "default", mark[:15], pins=pins)

    def test_it_goes_by_the_key_and_not_by_what_the_row_says(self, shop: Database, pins: Pins) -> None:
        """I2: a row that claims the fingerprint a person was told, over another key, is not trusted by it."""
        mark = vault.get_environment(shop, "shop", "default").fingerprint
        with shop.writing() as session:
            pair_of(session).public_key = sealing.generate_private_key().public_key().to_bytes()
        with pytest.raises(FingerprintWrong):
            vault.trust_key(shop, "shop", "default", mark, pins=pins)
        assert vault.list_keys(shop, "shop", "default")[0].fingerprint != mark


class TestCommitted:
    def test_a_pin_of_the_project_file_must_hold_as_well(
        self, shop: Database, store: Callable[..., object], pins: Pins, rotate: Rotate
    ) -> None:
        """I2: it holds at first use too, follows rotations, and refuses what does not follow from it."""
        place = vault.get_environment(shop, "shop", "default")
        ids = place.project_id, place.id
        right = Pins(pins.file, pins.server, {("shop", "default"): Pin(*ids, 1, place.fingerprint)})
        wrong = Pins(pins.file, pins.server, {("shop", "default"): Pin(*ids, 1, "0" * 64)})
        with pytest.raises(KeyChanged, match="the project file pins"):
            store(pins=wrong)
        assert wrong.known("shop", "default") is None
        store(pins=right)
        rotate(shop)
        store(pins=right)
        ahead = Pins(pins.file, pins.server, {("shop", "default"): Pin(*ids, 3, "0" * 64)})
        with pytest.raises(KeyChanged, match="step back"):
            store(pins=ahead)

    @pytest.mark.parametrize(
        "text",
        ["", "1:" + "a" * 64]
        + [":".join((*IDS, end)) for end in ("1", "1:", "0:" + "a" * 64, "1:" + "a" * 63, "1:" + "A" * 64)]
        + [f"{IDS[0]}:{IDS[1][:-1]}:1:{'a' * 64}", f"{IDS[0]}:1:{'a' * 64}"],
    )
    def test_a_pin_is_two_ids_a_generation_and_a_whole_fingerprint(self, text: str) -> None:
        """Nothing shorter, and nothing else."""
        with pytest.raises(ValueError, match="PROJECT_ID:ENVIRONMENT_ID:GENERATION:FINGERPRINT"):
            Pin.parse(text)
        pin = Pin(*IDS, 12, "a" * 64)
        assert Pin.parse(str(pin)) == pin


class TestFile:
    @pytest.fixture
    def pins(self, tmp_path: Path) -> Pins:
        """A file, and no database that it would need."""
        pins = Pins(tmp_path / "known_keys", "sqlite:///there")
        pins.remember("shop", "default", Pin(*IDS, 1, "a" * 64))
        return pins

    @pytest.mark.parametrize(
        ("damage", "said"),
        [
            (lambda text: text[:-20], "line 3 is not"),
            (lambda text: text.replace("shop default 1", "shop default 0"), "line 3 is not"),
            (lambda text: text.replace("a" * 64, "a" * 63), "line 3 is not"),
            (lambda text: text + text, "line 6 repeats an environment"),
            (lambda text: text + "\nnonsense\n", "line 5 is not"),
        ],
    )
    def test_a_broken_file_is_an_error_and_stays_as_it_is(
        self, pins: Pins, damage: Callable[[str], str], said: str
    ) -> None:
        """I9: never ignored, never written over: what it knew would be forgotten, and a swap a first use."""
        pins.file.write_text(damage(pins.file.read_text()))
        before = pins.file.read_bytes()
        acts: list[Callable[[], object]] = [
            lambda: pins.known("shop", "default"),
            lambda: pins.remember("shop", "staging", Pin(*IDS, 1, "b" * 64)),
            lambda: pins.forget("shop"),
        ]
        for act in acts:
            with pytest.raises(KnownKeysUnusable) as caught:
                act()
            assert str(pins.file) in str(caught.value) and said in str(caught.value)
        assert pins.file.read_bytes() == before

    def test_a_file_others_can_write_to_is_refused(self, pins: Pins) -> None:
        """Who could write to it could have it say anything."""
        pins.file.chmod(0o666)
        with pytest.raises(KnownKeysUnusable, match="chmod 600"):
            pins.known("shop", "default")

    def test_bytes_that_are_no_text(self, pins: Pins) -> None:
        """An error with the file's name, and no traceback."""
        pins.file.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(KnownKeysUnusable, match="UTF-8"):
            pins.known("shop", "default")

    @pytest.mark.long
    def test_many_writers_lose_nothing(self, tmp_path: Path) -> None:
        """Four processes remember fifteen environments each at once; every line is there, whole."""
        code = (
            "import sys; from pathlib import Path; from secretstore.pin import Pin; from secretstore.pins import Pins\n"
            "pins = Pins(Path(sys.argv[1]), 'db'); print(flush=True); sys.stdin.read()\n"
            "for n in range(15): pins.remember(f'p{sys.argv[2]}', f'e{n}', Pin('1' * 32, '2' * 32, n + 1, 'a' * 64))\n"
        )
        root, pipe = str(Path(__file__).parents[2]), subprocess.PIPE
        command = [sys.executable, "-c", code, str(tmp_path / "home" / "known_keys")]

        def end(writer: "subprocess.Popen[bytes]") -> None:
            assert writer.stdout is not None
            writer.stdout.close()

        writers = [subprocess.Popen([*command, str(n)], stdin=pipe, stdout=pipe, cwd=root) for n in range(4)]
        for act in (lambda w: w.stdout.readline(), lambda w: w.stdin.close(), lambda w: w.wait(60), end):
            for writer in writers:  # all are ready before any begins
                act(writer)
        assert [writer.returncode for writer in writers] == [0] * 4
        pins = Pins(tmp_path / "home" / "known_keys", "db")
        for n in range(4):
            assert [pins.known(f"p{n}", f"e{e}") for e in range(15)] == [Pin(*IDS, e + 1, "a" * 64) for e in range(15)]


def test_wrapped_pairs_travel_as_json(keys: LocalKeys) -> None:
    """What goes to a one-shot process and what comes back is the same pair."""
    pair = generate_wrapped(keys, KeyPlace("shop", "p1", "default", "e1"), 3)
    assert WrappedKeyPair.from_json(pair.to_json()) == pair
    assert replace(pair, wrapped=b"\0\xff").to_json()["wrapped"] == "00ff"
