"""A secret store for each test: a key file, a migrated database on SQLite and on PostgreSQL, a project."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secretstore import vault
from secretstore.bundle import SealedBundle
from secretstore.database import Database, migrate
from secretstore.key_files import create_local_key
from secretstore.keyring import generate_wrapped
from secretstore.local_keys import LocalKeys
from secretstore.pin import Pin
from secretstore.pins import Pins
from secretstore.reveal import Resealer
from secretstore.vault import Actor, Birth
from tests.conftest import database_for

Bundled = Callable[..., SealedBundle]
Rotate = Callable[..., Pin]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A new local key file."""
    path = tmp_path / "keys" / "local.key"
    create_local_key(path)
    return path


@pytest.fixture
def keys(key_file: Path) -> LocalKeys:
    """The key service of the key file."""
    return LocalKeys(key_file)


@pytest.fixture
def birth(keys: LocalKeys) -> Birth:
    """Makes key pairs in this process; the product does it in one that exits."""
    return lambda place, generation: generate_wrapped(keys, place, generation)


@pytest.fixture
def actor() -> Actor:
    """Who acts in these tests."""
    return Actor("ada@example", "test")


@pytest.fixture
def pins(tmp_path: Path, database_url: str) -> Pins:
    """What one sealer remembers of key pairs, nothing to begin with."""
    return Pins(tmp_path / "known_keys", database_url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of this test's own, once of each kind; without tables unless the test takes `db`."""
    with database_for(request, tmp_path, migrate) as url:
        yield url


@pytest.fixture
def empty_db(database_url: str) -> Iterator[Database]:
    """A database without tables."""
    db = Database(database_url)
    yield db
    db.close()


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A database with the secret store's tables."""
    db = Database(database_url)
    yield db
    db.close()


@pytest.fixture
def shop(db: Database, birth: Birth, actor: Actor) -> Database:
    """A database with the project `shop`, which has the environments `default` and `staging`."""
    vault.create_project(db, "shop", actor=actor, birth=birth)
    vault.create_environment(db, "shop", "staging", actor=actor, birth=birth)
    return db


@pytest.fixture
def bundled() -> Bundled:
    """Takes the sealed bundle of an environment, as a run would be given it."""

    def take(
        db: Database, environment: str = "default", names: list[str] | None = None, project: str = "shop"
    ) -> SealedBundle:
        place = vault.get_environment(db, project, environment)
        with db.writing() as session:
            return vault.sealed_bundle(session, place.id, names)

    return take


@pytest.fixture
def rotate(keys: LocalKeys, actor: Actor, tmp_path: Path, database_url: str) -> Rotate:
    """Rotates an environment as a colleague does, who has pins of their own."""

    def turn(db: Database, environment: str = "default") -> Pin:
        begun = vault.sealing_key(db, "shop", environment, pins=Pins(tmp_path / "colleague", database_url))
        resealer = Resealer(keys, keys, begun.place, begun.pair)
        rotation = vault.Rotation(begun.place, begun.pair, resealer.successor, resealer.voucher)
        vault.add_successor(db, rotation, actor=actor)
        vault.flip(db, rotation, lambda items: list(resealer.reseal(items)), actor=actor)
        ids = begun.place.project_id, begun.place.environment_id
        return Pin(*ids, rotation.successor.generation, rotation.successor.fingerprint)

    return turn
