"""What storing and fetching secrets costs, against their number and their size.

    python benchmarks/store.py [--database postgresql://…] [--most 10000] [--rounds 30]

  seal, open   one value, by size: HPKE and nothing else
  set          one more version of one secret, committed, in an environment that has so many
  list         all names of the environment, without values
  fetch        ciphertexts and wrapped key for a run that is given all of them: one transaction, as at the gate
  open all     what the opener does with them: one unwrap under a local key file, and so many openings

Without --database it works in a SQLite file of its own in a temporary folder. A PostgreSQL database has to be one that
may be filled: a project of a random name is made in it, and deleted at the end. Environments of all sizes take turns in
every round, so that a slow moment of the machine meets each of them. Medians; the columns "of 10" are ratios.
"""

import argparse
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sqlalchemy import event

from secretstore import vault
from secretstore.bundle import SealedBundle
from secretstore.database import Database, migrate
from secretstore.key_files import create_local_key
from secretstore.key_service import KeyPlace, WrappedKeyPair
from secretstore.keyring import generate_wrapped
from secretstore.local_keys import LocalKeys
from secretstore.pins import Pins
from secretstore.reveal import reveal
from secretstore.sealing import Binding, generate_private_key, open_, seal
from secretstore.settings import database_address

SIZES = (32, 1 << 10, 16 << 10, 64 << 10)
COUNTS = (10, 100, 1_000, 10_000)
ACTOR = vault.Actor("bench", "bench")
VALUE = b"a password of 32 bytes or nearly"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Seal, open, set, list and fetch against number and size.")
    parser.add_argument("--database", help="a PostgreSQL database that may be filled (else a SQLite file)")
    parser.add_argument("--most", type=int, default=COUNTS[-1], help="secrets in the largest environment")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {options.rounds} rounds, medians\n")
    report_sizes(options.rounds)
    with tempfile.TemporaryDirectory(prefix="sealrun-bench-") as folder:
        url = database_address(options.database) if options.database else f"sqlite:///{folder}/sealrun.db"
        store = Store(Path(folder), url)
        try:
            report_counts(store, [count for count in COUNTS if count <= options.most], options.rounds)
        finally:
            vault.delete_project(store.db, store.project, actor=ACTOR)


def report_sizes(rounds: int) -> None:
    """Print how long one value takes to seal and to open."""
    print(f"{'bytes':>9}  {'seal µs':>8}  {'open µs':>8}  {'sealed bytes':>12}")
    key = generate_private_key()
    binding = Binding("p" * 32, "e" * 32, "s" * 32, "NAME", 1)
    for size in SIZES:
        value = secrets.token_bytes(size)
        sealed = seal(key.public_key(), 1, value, binding)
        sealing = [seconds(lambda v=value: seal(key.public_key(), 1, v, binding)) for _ in range(rounds * 10)]
        opening = [seconds(lambda s=sealed: open_(key, s, binding)) for _ in range(rounds * 10)]
        print(f"{size:>9,}  {middle(sealing) * 1e6:>8.0f}  {middle(opening) * 1e6:>8.0f}  {len(sealed):>12,}")
    print()


class Store:
    """A database with one project, whose environments have as many secrets as their names say."""

    def __init__(self, folder: Path, url: str) -> None:
        key_file = folder / "keys" / "local.key"
        create_local_key(key_file)
        self.keys = LocalKeys(key_file)
        self.db = Database(url)
        migrate(self.db)
        self.pins = Pins(folder / "known_keys", self.db.url_shown)
        self.project = f"bench-{secrets.token_hex(4)}"
        self.statements = 0
        vault.create_project(self.db, self.project, actor=ACTOR, birth=self._birth)
        event.listen(self.db.engine, "before_cursor_execute", self._count)

    def fill(self, count: int) -> str:
        """Make an environment with so many secrets; returns its name."""
        name = f"with-{count}"
        vault.create_environment(self.db, self.project, name, actor=ACTOR, birth=self._birth)
        entries = [vault.NewSecret(name, f"SECRET_{number}", VALUE) for number in range(count)]
        vault.store(self.db, self.project, entries, actor=ACTOR, pins=self.pins)
        return name

    def set(self, environment: str) -> None:
        """One more version of one secret."""
        vault.put(self.db, self.project, environment, "SECRET_7", VALUE, actor=ACTOR, pins=self.pins)

    def list(self, environment: str) -> None:
        """Every name."""
        vault.list_secrets(self.db, self.project, environment)

    def fetch(self, environment: str) -> SealedBundle:
        """What a run that is given all of them takes to its opener."""
        place = vault.get_environment(self.db, self.project, environment)
        with self.db.writing() as session:
            before = self.statements
            bundle = vault.sealed_bundle(session, place.id, None)
            self.queries = self.statements - before
        return bundle

    def open_all(self, bundle: SealedBundle) -> None:
        """One unwrap and every value; they are dropped at once."""
        for _ in reveal(self.keys, bundle):
            pass

    def _birth(self, place: KeyPlace, generation: int) -> WrappedKeyPair:
        return generate_wrapped(self.keys, place, generation)

    def _count(self, *_: object) -> None:
        self.statements += 1


def report_counts(store: Store, counts: list[int], rounds: int) -> None:
    """Print how set, list, fetch and opening grow with the number of secrets."""
    print(store.db.dialect)
    environments = {count: store.fill(count) for count in counts}
    acts: dict[str, Callable[[str], object]] = {"set": store.set, "list": store.list, "fetch": store.fetch}
    taken: dict[tuple[str, int], list[float]] = {}
    for number in range(rounds):
        for count, environment in environments.items():
            if count > 1_000 and number >= max(rounds // 5, 3):
                continue
            for act, do in acts.items():
                taken.setdefault((act, count), []).append(seconds(lambda d=do, e=environment: d(e)))
            bundle = store.fetch(environment)
            taken.setdefault(("open all", count), []).append(seconds(lambda b=bundle: store.open_all(b)))
    print(f"{'secrets':>8}" + "".join(f"  {act + ' ms':>11}  {'of 10':>6}" for act in (*acts, "open all")))
    for count in counts:
        line = f"{count:>8,}"
        for act in (*acts, "open all"):
            here, least = middle(taken[act, count]), middle(taken[act, counts[0]])
            line += f"  {here * 1e3:>11.2f}  {here / least:>6.1f}"
        print(line)
    print(f"a run's fetch is {store.queries} statements, whatever the number of secrets")


def seconds(act: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def middle(series: list[float]) -> float:
    """The median."""
    return statistics.median(series)


if __name__ == "__main__":
    main()
