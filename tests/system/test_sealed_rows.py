"""What happens to a run when its key file or the rows of its secrets are not what they were (I2)."""

import os
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from executor.keys.creation import birth
from secretstore import vault
from secretstore.key_files import create_local_key
from tests.rig import ACTOR, Ended, Rig, rig

FIRST, SECOND = b"the-first-secret-value", b"the-second-secret-value"
VERSIONS = "secretstore_secret_version"
OF_NOW = f"{{}} WHERE secret_id = :key AND version = (SELECT max(version) FROM {VERSIONS} WHERE secret_id = :key)"


@pytest.fixture(scope="module")
def place() -> Iterator[Rig]:
    """A worker; each test has a project of its own, since it spoils it."""
    with rig() as made:
        made.start_worker()
        yield made


@pytest.fixture
def project(place: Rig) -> str:
    """A project with two secrets in `default`, and one of the same name in `prod`."""
    name = f"p-{uuid.uuid4().hex[:12]}"
    place.project(name, {"FIRST": FIRST, "SECOND": SECOND})
    vault.create_environment(place.db, name, "prod", actor=ACTOR, birth=birth(place.settings))
    vault.put(place.db, name, "prod", "FIRST", b"the-value-of-production", actor=ACTOR, pins=place.pins)
    return name


def secret_id(place: Rig, project: str, name: str, environment: str = "default") -> str:
    (found,) = [view.id for view in vault.list_secrets(place.db, project, environment) if view.name == name]
    return found


def sealed(place: Rig, key: str) -> bytes:
    with place.db.reading() as session:
        found = session.connection().execute(text(OF_NOW.format(f"SELECT sealed FROM {VERSIONS}")), {"key": key})
        return bytes(found.one()[0])


def put_sealed(place: Rig, key: str, value: bytes) -> None:
    assert place.execute(OF_NOW.format(f"UPDATE {VERSIONS} SET sealed = :value"), value=value, key=key) == 1


def try_it(place: Rig, project: str) -> Ended:
    return place.python_run("import os\nprint('ran with', len(os.environ['FIRST']))", project=project)


def refused(place: Rig, ended: Ended, *words: str, reason: str = "secrets_unavailable") -> None:
    """The run never began, the message has all the words and no value, and secrets can still be listed."""
    assert (ended.how, ended.stdout) == (("failed", reason, None), "")
    message = str(ended.view.message)
    for word in words:
        assert word in message, message
    for value in (FIRST, SECOND):
        assert value.decode() not in message + place.workers[0].said()
    project = ended.view.project
    assert [view.name for view in vault.list_secrets(place.db, project, "default")] == ["FIRST", "SECOND"]


class TestRows:
    def test_untouched(self, place: Rig, project: str) -> None:
        """What the other tests spoil works before they do."""
        assert try_it(place, project).stdout == f"ran with {len(FIRST)}\n"

    def test_edited(self, place: Rig, project: str) -> None:
        """I2: one bit of a ciphertext changed: it does not open, and the error names project, environment and name."""
        key = secret_id(place, project, "FIRST")
        whole = sealed(place, key)
        put_sealed(place, key, whole[:-1] + bytes([whole[-1] ^ 1]))
        refused(place, try_it(place, project), f"{project}/default", '"FIRST"')

    def test_swapped(self, place: Rig, project: str) -> None:
        """I2: two secrets of one environment with their ciphertexts swapped: neither opens."""
        ids = [secret_id(place, project, name) for name in ("FIRST", "SECOND")]
        values = [sealed(place, key) for key in ids]
        for key, value in zip(ids, reversed(values), strict=True):
            put_sealed(place, key, value)
        refused(place, try_it(place, project), f"{project}/default", '"FIRST"')

    def test_moved_between_environments(self, place: Rig, project: str) -> None:
        """I2: production's ciphertext put into the default environment does not open there."""
        put_sealed(place, secret_id(place, project, "FIRST"), sealed(place, secret_id(place, project, "FIRST", "prod")))
        refused(place, try_it(place, project), f"{project}/default", '"FIRST"')

    def test_moved_with_its_key_pair(self, place: Rig, project: str) -> None:
        """I2: nor does it where the key pair it was sealed to is moved along: the wrap is bound to its environment."""
        put_sealed(place, secret_id(place, project, "FIRST"), sealed(place, secret_id(place, project, "FIRST", "prod")))
        ids = {name: vault.get_environment(place.db, project, name).id for name in ("prod", "default")}
        for column in ("public_key", "fingerprint", "wrapped_private_key"):
            productions = f"(SELECT {column} FROM secretstore_key_pair WHERE environment_id = :prod)"
            changed = f"UPDATE secretstore_key_pair SET {column} = {productions} WHERE environment_id = :default"
            place.execute(changed, **ids)
        refused(place, try_it(place, project), "does not unwrap")

    def test_renamed(self, place: Rig, project: str) -> None:
        """I2: a secret whose row was given another name does not open under it."""
        renamed = "UPDATE secretstore_secret SET name = :name WHERE id = :key"
        first, second = (secret_id(place, project, name) for name in ("FIRST", "SECOND"))
        place.execute(renamed, name="FIRST_2", key=first)
        place.execute(renamed, name="FIRST", key=second)
        ended = try_it(place, project)
        assert (ended.how, ended.stdout) == (("failed", "secrets_unavailable", None), "")
        assert f"{project}/default" in str(ended.view.message)

    def test_resurrected(self, place: Rig, project: str) -> None:
        """I2: the ciphertext of a deleted secret does not open under a new one of its name."""
        old = sealed(place, secret_id(place, project, "FIRST"))
        vault.delete_secret(place.db, project, "default", "FIRST", actor=ACTOR)
        vault.put(place.db, project, "default", "FIRST", b"a-newer-secret-value", actor=ACTOR, pins=place.pins)
        put_sealed(place, secret_id(place, project, "FIRST"), old)
        refused(place, try_it(place, project), f"{project}/default", '"FIRST"')

    def test_older_version_put_back(self, place: Rig, project: str) -> None:
        """I2: an older ciphertext in the place of the current version does not open."""
        key = secret_id(place, project, "FIRST")
        old = sealed(place, key)
        vault.put(place.db, project, "default", "FIRST", b"a-newer-secret-value", actor=ACTOR, pins=place.pins)
        put_sealed(place, key, old)
        refused(place, try_it(place, project), f"{project}/default", '"FIRST"')


class TestKeyFile:
    def test_missing(self, place: Rig, project: str) -> None:
        """Without its key file a run fails with a sentence that names it; secrets are listed and sealed as before."""
        away = place.key_file.with_name("away")
        place.key_file.rename(away)
        try:
            refused(place, try_it(place, project), "no key file at", str(place.key_file))
            vault.put(place.db, project, "default", "SECOND", b"sealed-without-a-key", actor=ACTOR, pins=place.pins)
        finally:
            away.rename(place.key_file)
        assert try_it(place, project).how == ("succeeded", None, 0)

    def test_wrong(self, place: Rig, project: str) -> None:
        """Another key file in its place is told from the right one: no worker takes what it cannot open."""
        halves = place.key_file, place.key_file.with_suffix(".pub")
        for half in halves:
            half.rename(half.with_suffix(".away" + half.suffix))
        try:
            create_local_key(place.key_file)
            words = "no worker has the key service local:", "this machine has local:"
            refused(place, try_it(place, project), *words, reason="no_capable_worker")
        finally:
            for half in halves:
                half.with_suffix(".away" + half.suffix).replace(half)

    def test_open_to_others(self, place: Rig, project: str) -> None:
        """A key file that others may read is refused, with the mend."""
        place.key_file.chmod(0o644)
        try:
            refused(place, try_it(place, project), "chmod 600")
        finally:
            place.key_file.chmod(0o600)

    def test_a_receipt_stays_open_where_opening_failed(self, place: Rig, project: str) -> None:
        """I4: the receipt was written before the opening was tried, and does not claim that it happened."""
        place.key_file.chmod(0o644)
        try:
            receipt = try_it(place, project).view.receipt
        finally:
            os.chmod(place.key_file, 0o600)
        assert receipt is not None
        assert [entry.name for entry in receipt.secrets] == ["FIRST", "SECOND"]
        assert receipt.opened_at is None
