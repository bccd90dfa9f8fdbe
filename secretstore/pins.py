"""Which key pair to seal to: the database's, if it agrees with what this user remembers.

Whoever can write to the database could replace an environment's public key with their own, and read the values sealed
next. So we remember each environment's key pair at first use, as ssh does a host's key, and accept another one only if
every pair in between has vouched for its successor. A pair is remembered under names: an environment that is deleted
and created again does not count as a first use.
"""

import fcntl
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session, col, select

from secretstore.errors import KeyChanged, KeyUnreadable, KnownKeysUnusable
from secretstore.home import private_folder
from secretstore.models import Environment, KeyPair, Project
from secretstore.sealing import PublicKey, fingerprint, succession

_COMMENT = (
    "# sealrun known keys: the key pair each environment had when this user last sealed to it.\n"
    "# project, environment, generation, fingerprint of the public key, database. See: sealrun key list\n"
)
_LINE = re.compile(r"(\S+) (\S+) ([1-9][0-9]{0,9}) ([0-9a-f]{64}) (.+)")
_PIN = re.compile(r"([1-9][0-9]{0,9}):([0-9a-f]{64})")
_FILE_LIMIT = 16 << 20
_SHORT = 16

_Place = tuple[str, str, str]


@dataclass(frozen=True)
class Pin:
    """A remembered key pair."""

    generation: int
    fingerprint: str

    @classmethod
    def parse(cls, text: str) -> "Pin":
        """Read `GENERATION:FINGERPRINT`, the fingerprint in full.

        Raises:
            ValueError: it has another form.
        """
        found = _PIN.fullmatch(text)
        if found is None:
            raise ValueError("it is not GENERATION:FINGERPRINT, as in 1: and 64 hexadecimal digits")
        return cls(int(found[1]), found[2])


class Pins:
    """The key pairs of environments that one user remembers, in a file of theirs."""

    def __init__(self, file: Path, database: str, committed: Mapping[tuple[str, str], Pin] | None = None) -> None:
        """Keep where they are; nothing is read yet.

        Args:
            file: created at first use.
            database: the database's URL without passwords: two databases may have projects of the same name.
            committed: pins from a project file, by project and environment. They must hold as well, and are never
                changed.
        """
        self.file = file
        self.database = "".join(c if c.isprintable() else "?" for c in database)
        self.committed = dict(committed or {})

    def sealing_key(self, session: Session, project: Project, environment: Environment) -> KeyPair:
        """Return the environment's key pair for sealing, in the caller's transaction.

        It is remembered at first use. Later, a generation that its predecessors vouch for replaces the remembered one.

        Raises:
            KeyChanged: the key pair is neither the remembered one nor vouched for by it.
            KnownKeysUnusable: the file cannot be read or written.
        """
        names = project.name, environment.name
        pair, now = current_pin(session, project, environment)
        pinned = self.known(*names)
        for pin, where in ((pinned, "is remembered here"), (self.committed.get(names), "the project file pins")):
            if pin is not None and pin != now:
                _require_succession(session, project, environment, pin, now, where)
        if pinned != now:
            self._advance(*names, pinned, now)
        return pair

    def known(self, project: str, environment: str) -> Pin | None:
        """Return the key pair that is remembered for an environment.

        Raises:
            KnownKeysUnusable: the file cannot be read, or is malformed.
        """
        return self._read().get((project, environment, self.database))

    def remember(self, project: str, environment: str, pin: Pin) -> None:
        """Remember an environment's key pair in place of any other: whoever made or compared it says so.

        Raises:
            KnownKeysUnusable: the file cannot be read or written.
        """
        with self._locked():
            self._write({**self._read(), (project, environment, self.database): pin})

    def forget(self, project: str, environment: str | None = None) -> None:
        """Forget an environment's key pair, or those of all of a project's, when it is deleted.

        Raises:
            KnownKeysUnusable: the file cannot be read or written.
        """
        if not self.file.exists():
            return
        with self._locked():
            pins = self._read()
            kept = {place: pin for place, pin in pins.items() if not self._belongs_to(place, project, environment)}
            if kept != pins:
                self._write(kept)

    def _advance(self, project: str, environment: str, before: Pin | None, now: Pin) -> None:
        """Remember a pair that was checked against `before`, unless another process has remembered one meanwhile."""
        place = (project, environment, self.database)
        with self._locked():
            pins = self._read()
            if pins.get(place) == before:
                self._write({**pins, place: now})

    def _belongs_to(self, place: _Place, project: str, environment: str | None) -> bool:
        return (place[0], place[2]) == (project, self.database) and environment in (None, place[1])

    def _read(self) -> dict[_Place, Pin]:
        try:
            with open(self.file, "rb") as file:
                if os.fstat(file.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    raise KnownKeysUnusable(path=self.file, why="others can write to it; chmod 600 it")
                raw = file.read(_FILE_LIMIT)
            lines = raw.decode().splitlines()
        except FileNotFoundError:
            return {}
        except OSError as problem:
            raise KnownKeysUnusable(path=self.file, why=_reason(problem)) from None
        except UnicodeDecodeError:
            raise KnownKeysUnusable(path=self.file, why="it is not text in UTF-8") from None
        pins: dict[_Place, Pin] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            found = _LINE.fullmatch(line)
            if found is None:
                # Refused rather than skipped: a pin that is lost would make the next key pair a first use.
                why = f"line {number} is not project, environment, generation, fingerprint, database"
                raise KnownKeysUnusable(path=self.file, why=why)
            place = (found[1], found[2], found[5])
            if place in pins:
                raise KnownKeysUnusable(path=self.file, why=f"line {number} repeats an environment")
            pins[place] = Pin(int(found[3]), found[4])
        return pins

    def _write(self, pins: Mapping[_Place, Pin]) -> None:
        """Replace the file as a whole: a reader sees the old one or the new one."""
        lines = [
            f"{project} {environment} {pin.generation} {pin.fingerprint} {database}\n"
            for (project, environment, database), pin in sorted(pins.items())
        ]
        unfinished = self.file.with_name(f".{self.file.name}.{os.urandom(8).hex()}")
        try:
            with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as out:
                out.write(_COMMENT + "".join(lines))
                out.flush()
                os.fsync(out.fileno())
            os.replace(unfinished, self.file)
        except OSError as problem:
            with suppress(OSError):
                os.unlink(unfinished)
            raise KnownKeysUnusable(path=self.file, why=_reason(problem)) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one writer in at a time. Nothing in here asks a database, so nobody waits for one here."""
        try:
            private_folder(self.file.parent)
            lock = os.open(f"{self.file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise KnownKeysUnusable(path=self.file, why=_reason(problem)) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def current_pin(session: Session, project: Project, environment: Environment) -> tuple[KeyPair, Pin]:
    """Return an environment's current key pair, and its pin by its own bytes: the row may claim anything.

    Raises:
        KeyChanged: it is missing or cannot be read.
    """
    pair = session.get(KeyPair, (environment.id, environment.generation))
    if pair is None:
        why = f"its generation {environment.generation} is missing"
        raise KeyChanged(project=project.name, environment=environment.name, why=why)
    try:
        return pair, Pin(pair.generation, fingerprint(PublicKey.from_bytes(pair.public_key)))
    except KeyUnreadable:
        why = f"generation {pair.generation} has no readable public key"
        raise KeyChanged(project=project.name, environment=environment.name, why=why) from None


def _require_succession(
    session: Session, project: Project, environment: Environment, pin: Pin, now: Pin, where: str
) -> None:
    """Refuse the current key pair unless each one from the known pair on has vouched for the next."""
    if why := _broken_link(session, environment, pin, now):
        known = f"generation {pin.generation}, {pin.fingerprint[:_SHORT]}… {where}"
        raise KeyChanged(project=project.name, environment=environment.name, why=f"{why}; {known}")


def _broken_link(session: Session, environment: Environment, pin: Pin, now: Pin) -> str | None:
    if now.generation < pin.generation:
        return (
            f"generation {now.generation}, {now.fingerprint[:_SHORT]}… is a step back: "
            "an older copy of the database was restored, or an older key put back"
        )
    if now.generation == pin.generation:
        return (
            f"generation {now.generation} has another fingerprint, {now.fingerprint[:_SHORT]}…: "
            "the environment was recreated, or its key was swapped"
        )
    query = select(KeyPair).where(
        KeyPair.environment_id == environment.id,
        col(KeyPair.generation).between(pin.generation, now.generation),
    )
    pairs = {pair.generation: pair for pair in session.exec(query)}
    # Each public key is checked against a fingerprint we trust, the pin's at first, then used to check the next one.
    known, mark = None, pin.fingerprint
    for generation in range(pin.generation, now.generation + 1):
        if generation not in pairs:
            return f"generation {generation} is missing, so nothing explains generation {now.generation}"
        try:
            public = PublicKey.from_bytes(pairs[generation].public_key)
        except KeyUnreadable:
            return f"generation {generation} has no readable public key"
        found = fingerprint(public)
        if known is None and found != mark:
            return f"generation {generation} has another fingerprint, {found[:_SHORT]}…: its key was swapped"
        if known is not None:
            statement = succession(environment.project_id, environment.id, generation - 1, mark, generation, found)
            if not known.has_vouched(pairs[generation].voucher or b"", statement):
                return f"generation {generation}, {found[:_SHORT]}… is not vouched for by the one before it"
        known, mark = public, found
    return None


def _reason(problem: OSError) -> str:
    return (problem.strerror or "it cannot be used").lower()
