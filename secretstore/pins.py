"""Which key pair to seal to: the one that is offered, if it agrees with what this user remembers.

Whoever can write to the database, or answers in a server's place, could offer a public key of their own, and read the
values sealed next. So we remember each environment's key pair at first use, as ssh does a host's key, and accept
another one only if every pair in between has vouched for its successor. It is remembered together with the server and
the ids of project and environment, which are part of what a value is sealed for, and under names: an environment that
is deleted and created again does not count as a first use.

Nothing here asks a database or a network: who offers a key pair offers all its generations, see `succession`.
"""

import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from secretstore.errors import FingerprintWrong, KeyChanged, KeyUnknown, KeyUnreadable, KnownKeysUnusable
from secretstore.home import private_folder
from secretstore.naming import check_environment_name, check_project_name
from secretstore.pin import GivenPin, Pin
from secretstore.sealing import PublicKey, fingerprint
from secretstore.succession import SHORT, Succession

_COMMENT = (
    "# sealrun known keys: the key pair each environment had when this user last sealed to it.\n"
    "# project, environment, generation, fingerprint of the public key, both ids, server. See: sealrun key list\n"
)
_ID, _MARK, _GENERATION = r"([0-9a-f]{32})", r"([0-9a-f]{64})", r"([1-9][0-9]{0,9})"
_LINE = re.compile(rf"(\S+) (\S+) {_GENERATION} {_MARK} {_ID} {_ID} (.+)")
_FILE_LIMIT = 16 << 20
_LEAST_FINGERPRINT = 16

_Place = tuple[str, str, str]


FirstUse = Callable[[str, str, str, Pin], None]
"""Called with project, environment, server and the key pair that is offered, where nothing is known to compare it with.
It raises the reason not to seal to it."""


def remember_at_first_use(project: str, environment: str, server: str, offered: Pin) -> None:
    """Take what is offered: for the direct door, whose user has the database itself."""


def refuse_first_use(project: str, environment: str, server: str, offered: Pin) -> None:
    """Take nothing that is not known: for who seals over a network, and has nobody to ask.

    Raises:
        KeyUnknown: always.
    """
    raise KeyUnknown(project=project, environment=environment, server=server, fingerprint=offered.fingerprint)


class Pins:
    """The key pairs of environments that one user remembers, in a file of theirs."""

    def __init__(
        self,
        file: Path,
        server: str,
        committed: Mapping[tuple[str, str], Pin] | None = None,
        *,
        given: Iterable[GivenPin] = (),
        first_use: FirstUse = remember_at_first_use,
    ) -> None:
        """Keep where they are; nothing is read yet.

        Args:
            file: created at first use.
            server: the database's URL without passwords, or an API's origin: two of them may have projects of the same
                name.
            committed: pins from a project file, by project and environment. They must hold as well, and are never
                changed.
            given: more pins that must hold, of environments of whatever project is sealed for.
            first_use: what is to be done where nothing is known of a key pair.
        """
        self.file = file
        self.server = "".join(c if c.isprintable() else "?" for c in server)
        self.committed = dict(committed or {})
        self.given = tuple(given)
        self.first_use = first_use

    def also(self, given: Iterable[GivenPin]) -> "Pins":
        """Return the same pins, with more that must hold."""
        more = (*self.given, *given)
        return Pins(self.file, self.server, self.committed, given=more, first_use=self.first_use)

    def sealing_key(self, project: str, environment: str, offered: Succession) -> PublicKey:
        """Return the public key to seal to, of the key pair that somebody offers for an environment.

        It is remembered at first use. Later, a generation that its predecessors vouch for replaces the remembered one.

        Args:
            project: as it was typed.
            environment: as it was typed.
            offered: what the database or the server says.

        Raises:
            NameRefused: no project or environment has such a name.
            KeyChanged: the key pair is neither the remembered one nor vouched for by it, or belongs to something else.
            KeyUnknown: nothing is known of it, and nobody says that it is the right one.
            KnownKeysUnusable: the file cannot be read or written.
        """
        public, now = _offered(project, environment, offered)
        pinned = self.known(project, environment)
        insisted = [(pin, where) for pin, where in self._insisted(project, environment) if pin is not None]
        for pin, where in [*([(pinned, "is remembered here")] if pinned else []), *insisted]:
            if pin != now and (why := _mismatch(offered, pin)):
                known = f"generation {pin.generation}, {pin.fingerprint[:SHORT]}… {where}"
                raise KeyChanged(project=project, environment=environment, why=f"{why}; {known}")
        if pinned is None and not insisted:
            self.first_use(project, environment, self.server, now)
        if pinned != now:
            self._advance(project, environment, pinned, now)
        return public

    def trust(self, project: str, environment: str, offered: Succession, given: str) -> Pin:
        """Remember the key pair that is offered, whose fingerprint a person has compared.

        Args:
            project: as it was typed.
            environment: as it was typed.
            offered: what the database or the server says.
            given: the fingerprint, in full or its first 16 digits or more.

        Raises:
            FingerprintWrong: it is another key pair's, or too short to tell.
            KeyChanged: the current key pair cannot be read.
            KnownKeysUnusable: the file cannot be read or written.
        """
        _, now = _offered(project, environment, offered)
        wanted = given.strip().lower().removesuffix("…")
        # Only what could be a fingerprint is shown: people paste other things by mistake.
        shown = given if given.isascii() and given.isalnum() and len(given) <= 64 else "the text given"
        if len(wanted) < _LEAST_FINGERPRINT:
            raise FingerprintWrong(
                "{given} is too short to tell key pairs apart, and nothing was recorded",
                given=shown,
                least=_LEAST_FINGERPRINT,
                hint=f"give the whole fingerprint, or at least its first {_LEAST_FINGERPRINT} digits",
            )
        if not now.fingerprint.startswith(wanted):
            raise FingerprintWrong(project=project, environment=environment, found=now.fingerprint, given=shown)
        self.remember(project, environment, now)
        return now

    def known(self, project: str, environment: str) -> Pin | None:
        """Return the key pair that is remembered for an environment.

        Raises:
            KnownKeysUnusable: the file cannot be read, or is malformed.
        """
        return self._read().get((project, environment, self.server))

    def remember(self, project: str, environment: str, pin: Pin) -> None:
        """Remember an environment's key pair in place of any other: whoever made or compared it says so.

        Raises:
            KnownKeysUnusable: the file cannot be read or written.
        """
        with self._locked():
            self._write({**self._read(), (project, environment, self.server): pin})

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
        place = (project, environment, self.server)
        with self._locked():
            pins = self._read()
            if pins.get(place) == before:
                self._write({**pins, place: now})

    def _insisted(self, project: str, environment: str) -> Iterator[tuple[Pin | None, str]]:
        yield self.committed.get((project, environment)), "the project file pins"
        for given in self.given:
            if given.environment in (None, environment):
                yield given.pin, given.where

    def _belongs_to(self, place: _Place, project: str, environment: str | None) -> bool:
        return (place[0], place[2]) == (project, self.server) and environment in (None, place[1])

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
                why = f"line {number} is not project, environment, generation, fingerprint, two ids, server"
                raise KnownKeysUnusable(path=self.file, why=why)
            place = (found[1], found[2], found[7])
            if place in pins:
                raise KnownKeysUnusable(path=self.file, why=f"line {number} repeats an environment")
            pins[place] = Pin(found[5], found[6], int(found[3]), found[4])
        return pins

    def _write(self, pins: Mapping[_Place, Pin]) -> None:
        """Replace the file as a whole: a reader sees the old one or the new one."""
        lines = [
            f"{project} {environment} {pin.generation} {pin.fingerprint} "
            f"{pin.project_id} {pin.environment_id} {server}\n"
            for (project, environment, server), pin in sorted(pins.items(), key=lambda item: item[0])
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


def _offered(project: str, environment: str, offered: Succession) -> tuple[PublicKey, Pin]:
    """Return the key pair that is offered, and its pin by its own bytes: the fingerprint beside it may be anything."""
    check_project_name(project)
    check_environment_name(environment)
    try:
        public = offered.current()
    except KeyUnreadable as why:
        raise KeyChanged(project=project, environment=environment, why=str(why)) from None
    return public, Pin(offered.project_id, offered.environment_id, offered.generation, fingerprint(public))


def _mismatch(offered: Succession, pin: Pin) -> str | None:
    """Say why what is offered is not what is known, nor follows from it."""
    for what, known, now in (
        ("project", pin.project_id, offered.project_id),
        ("environment", pin.environment_id, offered.environment_id),
    ):
        if known != now:
            return (
                f"the {what} has another id, {now[:SHORT]}… and not {known[:SHORT]}…: "
                "it was deleted and recreated, or another one answers in its place"
            )
    return offered.broken_link(pin.generation, pin.fingerprint)


def _reason(problem: OSError) -> str:
    return (problem.strerror or "it cannot be used").lower()
