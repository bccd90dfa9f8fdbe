"""The way out: one unwrap, exact errors, and nothing that was moved, swapped or resurrected."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import Session, select

from secretstore import vault
from secretstore.bundle import SealedBundle, SealedItem
from secretstore.database import Database
from secretstore.errors import SealBroken, SecretStoreError, WrapBroken
from secretstore.key_service import KeyService
from secretstore.keyring import wrapping_context
from secretstore.local_keys import LocalKeys
from secretstore.models import Environment, KeyPair, Secret, SecretVersion
from secretstore.pins import Pins
from secretstore.reveal import reveal
from secretstore.sealing import Binding, generate_private_key, seal
from secretstore.vault import Actor

Bundled = Callable[..., SealedBundle]

ROOT = Path(__file__).parents[2]


class Counting:
    """A key service that counts what it is asked."""

    def __init__(self, service: KeyService) -> None:
        self.service, self.unwrapped = service, 0
        self.id = service.id

    def wrap(self, private_key: bytes, context: Mapping[str, str]) -> bytes:
        return self.service.wrap(private_key, context)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        self.unwrapped += 1
        return self.service.unwrap(wrapped, context)

    def rewrap(self, wrapped: bytes, context: Mapping[str, str], under: KeyService) -> bytes:
        return self.service.rewrap(wrapped, context, under)


@pytest.fixture
def stocked(shop: Database, actor: Actor, pins: Pins) -> Database:
    """`shop` with the secrets ONE (two versions) and TWO, and TWO in staging."""
    vault.put(shop, "shop", "default", "ONE", b"value one, old", actor=actor, pins=pins)
    vault.put(shop, "shop", "default", "ONE", b"value one, new", actor=actor, pins=pins)
    vault.put(shop, "shop", "default", "TWO", b"value of two", actor=actor, pins=pins)
    vault.put(shop, "shop", "staging", "TWO", b"value two of staging", actor=actor, pins=pins)
    return shop


def row(session: Session, environment: str, name: str, version: int) -> SecretVersion:
    query = select(SecretVersion).where(
        SecretVersion.secret_id == Secret.id,
        SecretVersion.version == version,
        Secret.name == name,
        Secret.environment_id == Environment.id,
        Environment.name == environment,
    )
    return session.exec(query).one()


def test_i4_one_unwrap_for_all_and_none_for_nothing(stocked: Database, keys: LocalKeys, bundled: Bundled) -> None:
    """I4: the key service is asked once whatever the number of secrets, and not at all without any."""
    counting = Counting(keys)
    assert [value for _, value in reveal(counting, bundled(stocked))] == [b"value one, new", b"value of two"]
    assert counting.unwrapped == 1
    assert list(reveal(counting, bundled(stocked, names=[]))) == []
    assert counting.unwrapped == 1


def _swapped(session: Session) -> str:
    one, two = row(session, "default", "ONE", 2), row(session, "default", "TWO", 1)
    one.sealed, two.sealed = two.sealed, one.sealed
    return "ONE"


def _rolled_back(session: Session) -> str:
    row(session, "default", "ONE", 2).sealed = row(session, "default", "ONE", 1).sealed
    return "ONE"


def _moved(session: Session) -> str:
    row(session, "default", "TWO", 1).sealed = row(session, "staging", "TWO", 1).sealed
    return "TWO"


def _edited(session: Session) -> str:
    two = row(session, "default", "TWO", 1)
    two.sealed = two.sealed[:-1] + bytes([two.sealed[-1] ^ 1])
    return "TWO"


def _cut(session: Session) -> str:
    row(session, "default", "TWO", 1).sealed = b""
    return "TWO"


def _renamed(session: Session) -> str:
    session.exec(select(Secret).where(Secret.name == "ONE")).one().name = "AAA"
    return "AAA"


@pytest.mark.parametrize("tamper", [_swapped, _rolled_back, _moved, _edited, _cut, _renamed])
def test_i2_a_tampered_row_does_not_open(
    stocked: Database, keys: LocalKeys, bundled: Bundled, tamper: Callable[[Session], str]
) -> None:
    """I2: what was swapped, moved, edited or renamed fails with an error that names the place."""
    with stocked.writing() as session:
        name = tamper(session)
    with pytest.raises(SealBroken) as refusal:
        list(reveal(keys, bundled(stocked)))
    assert f'secret "{name}" of shop/default does not open' in str(refusal.value)
    assert f"sealrun secret set {name} -p shop -e default" in (refusal.value.hint or "")
    assert "value" not in repr(refusal.value.args)


def test_i2_a_resurrected_secret_does_not_open(
    stocked: Database, actor: Actor, keys: LocalKeys, bundled: Bundled, pins: Pins
) -> None:
    """I2: the ciphertext of a deleted secret, put back under the same name and version, stays closed."""
    with stocked.reading() as session:
        old = row(session, "default", "TWO", 1).sealed
    vault.delete_secret(stocked, "shop", "default", "TWO", actor=actor)
    vault.put(stocked, "shop", "default", "TWO", b"another value", actor=actor, pins=pins)
    with stocked.writing() as session:
        row(session, "default", "TWO", 1).sealed = old
    with pytest.raises(SealBroken, match='"TWO" of shop/default'):
        list(reveal(keys, bundled(stocked)))


def test_what_a_kept_copy_of_all_rows_of_a_deleted_secret_opens(
    stocked: Database, actor: Actor, keys: LocalKeys, bundled: Bundled
) -> None:
    """SECURITY.md says so: with its old id it is the same secret, as long as the key pair is."""
    with stocked.reading() as session:
        version = row(session, "default", "TWO", 1)
        kept = session.get_one(Secret, version.secret_id).model_dump(), version.model_dump()
    vault.delete_secret(stocked, "shop", "default", "TWO", actor=actor)
    with stocked.writing() as session:
        session.add(Secret(**kept[0]))
        session.flush()
        session.add(SecretVersion(**kept[1]))
    assert [value for _, value in reveal(keys, bundled(stocked, names=["TWO"]))] == [b"value of two"]


def test_i2_a_key_pair_copied_to_another_environment_does_not_unwrap(
    stocked: Database, keys: LocalKeys, bundled: Bundled
) -> None:
    """I2: giving staging the key pair and a ciphertext of default does not open it there."""
    with stocked.writing() as session:
        default, staging = session.exec(select(Environment).order_by(Environment.name)).all()
        theirs = session.get_one(KeyPair, (default.id, 1))
        ours = session.get_one(KeyPair, (staging.id, 1))
        ours.public_key, ours.fingerprint = theirs.public_key, theirs.fingerprint
        ours.wrapped_private_key = theirs.wrapped_private_key
        row(session, "staging", "TWO", 1).sealed = row(session, "default", "TWO", 1).sealed
    with pytest.raises(WrapBroken):
        list(reveal(keys, bundled(stocked, "staging")))


class Unbound(Counting):
    """A key service that ignores the context, as a careless one would."""

    def __init__(self, service: KeyService, context: Mapping[str, str]) -> None:
        super().__init__(service)
        self.context = context

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        return self.service.unwrap(wrapped, self.context)


@pytest.mark.parametrize("field", ["project_id", "environment_id"])
def test_i2_the_seal_holds_without_the_wrap(stocked: Database, keys: LocalKeys, bundled: Bundled, field: str) -> None:
    """I2: even with the private key in hand, a value moved to another project or environment stays closed."""
    from secretstore.keyring import wrapping_context

    bundle = bundled(stocked)
    careless = Unbound(keys, wrapping_context(bundle.place, bundle.fingerprint))
    assert len(list(reveal(careless, bundle))) == 2
    with pytest.raises(SealBroken):
        list(reveal(careless, replace(bundle, **{field: "f" * 32})))


@pytest.mark.parametrize("field", ["secret_id", "name", "version"])
def test_i2_an_item_is_bound_to_its_place(stocked: Database, keys: LocalKeys, bundled: Bundled, field: str) -> None:
    """I2: a bundle altered on its way does not open."""
    bundle = bundled(stocked)
    changed = 9 if field == "version" else "changed"
    item = replace(bundle.items[0], **{field: changed})
    with pytest.raises(SealBroken):
        list(reveal(keys, replace(bundle, items=(item,))))


def test_a_version_without_a_seal_of_this_generation_is_named(stocked: Database, bundled: Bundled) -> None:
    """A version that was never sealed to the current key pair is an error, and not a missing variable."""
    with stocked.writing() as session:
        session.delete(row(session, "default", "TWO", 1))
    with pytest.raises(SealBroken, match='"TWO" of shop/default'):
        bundled(stocked)


def test_a_bundle_travels_as_json(stocked: Database, bundled: Bundled) -> None:
    """What was written is what is read."""
    bundle = bundled(stocked)
    assert SealedBundle.from_json(bundle.to_json()) == bundle
    assert SealedBundle.from_json(bundle.to_json().encode()) == bundle


BUNDLE = SealedBundle("shop", "1", "default", "2", 1, "f", "local:0", b"wrapped", (SealedItem("3", "A", 1, b"s"),))


def _broken() -> Iterator[str]:
    text = BUNDLE.to_json()
    yield from ("", "null", "[]", "{}", text[:-1], text.replace('"version": 1', '"version": "1"'))
    yield text.replace('"project": "shop"', '"project": null')
    yield text.replace('"project": "shop"', '"project": "shop", "more": 1')
    yield text.replace('"name": "A", ', "")
    yield text.replace('"wrapped": "', '"wrapped": "!')
    yield text.replace('"version": 1', '"version": true')


@pytest.mark.parametrize("text", list(_broken()))
def test_a_broken_bundle_is_refused(text: str) -> None:
    """Whatever is missing, surplus or of another type, there is one error, and it quotes nothing."""
    assert text != BUNDLE.to_json()
    with pytest.raises(SealBroken) as refusal:
        SealedBundle.from_json(text)
    assert str(refusal.value) == "the bundle of sealed values cannot be read"


def _modules_after(statement: str) -> set[str]:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_way_out_is_light() -> None:
    """The opener's imports are the standard library, `cryptography` and these modules alone."""
    statement = "import secretstore.reveal, secretstore.local_keys, secretstore.keyring, secretstore.naming"
    loaded = _modules_after(statement)
    # Debian's interpreter has a sitecustomize of its own.
    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - {"__main__", "sitecustomize"}
    assert {name for name in foreign if not name.startswith("_")} == {"secretstore", "cryptography"}
    assert {name for name in loaded if name.startswith("secretstore")} == {
        "secretstore",
        "secretstore.acting_names",
        "secretstore.aws_kms",
        "secretstore.bundle",
        "secretstore.default_home",
        "secretstore.durations",
        "secretstore.errors",
        "secretstore.home",
        "secretstore.key_files",
        "secretstore.key_service",
        "secretstore.keyring",
        "secretstore.kms_failures",
        "secretstore.local_keys",
        "secretstore.naming",
        "secretstore.reveal",
        "secretstore.sealing",
        "secretstore.settings",
        "secretstore.unwrapping",
    }


def test_the_vault_cannot_reveal() -> None:
    """Importing all of the vault, the database and the audit trail does not import the way out."""
    loaded = _modules_after("import secretstore.vault, secretstore.audit, secretstore.database")
    assert "secretstore.vault.secrets" in loaded
    assert not {"secretstore.reveal", "secretstore.unwrapping"} & loaded


def test_i10_a_key_service_error_passes_through(stocked: Database, tmp_path: Path, bundled: Bundled) -> None:
    """I10: a missing key file is said as such, without the bundle's content."""
    with pytest.raises(SecretStoreError, match=f"no key file at {tmp_path}/nowhere") as refusal:
        list(reveal(LocalKeys(tmp_path / "nowhere"), bundled(stocked)))
    assert refusal.value.__cause__ is None


def test_a_private_key_that_is_not_the_bundles_opens_nothing(
    stocked: Database, keys: LocalKeys, bundled: Bundled
) -> None:
    """I4: the receipt has the pair's fingerprint, so what is unwrapped under it has to be that pair's."""
    real = bundled(stocked)
    own = generate_private_key()
    value = seal(own.public_key(), 1, b"theirs", Binding(real.project_id, real.environment_id, "s", "THEIRS", 1))
    wrapped = keys.wrap(own.to_bytes(), wrapping_context(real.place, real.fingerprint))
    planted = replace(real, wrapped=wrapped, items=(SealedItem("s", "THEIRS", 1, value),))
    with pytest.raises(WrapBroken):
        list(reveal(keys, planted))
