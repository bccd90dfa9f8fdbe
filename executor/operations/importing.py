"""Bringing in a file of names and values: what is secret and what is plain, what would change, what stands against it.

Who imports sees all of it before anything is written. Of a secret nothing is said but its name.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from executor.masking.needles import SHORTEST, drawback, verdict
from executor.operations.pairs import Pair, Problem, Reading
from secretstore import vault
from secretstore.database import Database
from secretstore.errors import NameRefused, ValueRefused
from secretstore.naming import alias_for, aliases, shell_note
from secretstore.vault import NewSecret, NewVariable, Outline

Kind = Literal["secret", "variable"]
Change = Literal["new", "version", "changed", "unchanged"]

_NAMED_LIKE_A_SECRET = re.compile(
    r"pass|pwd|secret|token|key|credential|private|(?:^|[_.-])(?:pin|auth)(?:$|[_.-])", re.IGNORECASE
)


@dataclass(frozen=True)
class Wishes:
    """What whoever imports has decided: names by kind, all of them, and whether short values are sealed too."""

    secrets: Collection[str] = ()
    variables: Collection[str] = ()
    all_secret: bool = False
    allow_short: bool = False


@dataclass(frozen=True)
class RunConnection:
    """What becomes of one name. `version` is the secret's new one; `reason` says why it is a variable."""

    name: str
    kind: Kind
    change: Change
    version: int | None
    reason: str | None
    entry: NewSecret | NewVariable = field(repr=False)

    @property
    def shown(self) -> str | None:
        """A variable's value; None for secrets, and for what is named like one."""
        if isinstance(self.entry, NewSecret) or is_named_like_a_secret(self.name):
            return None
        return self.entry.value


@dataclass(frozen=True)
class Plan:
    """What an import would do to one environment. With a problem it does nothing at all."""

    project: str
    environment: str
    entries: tuple[RunConnection, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    def to_store(self) -> list[NewSecret | NewVariable]:
        """What is to be written: a variable that stays as it is, is not."""
        return [planned.entry for planned in self.entries if planned.change != "unchanged"]


def plan(db: Database, project: str, environment: str, reading: Reading, wishes: Wishes) -> Plan:
    """Sort what was read, and compare it with what an environment has.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    there = _There(
        environment,
        {secret.name: secret for secret in vault.outline(db, project, environment)},
        {variable.name: variable.value for variable in vault.list_variables(db, project, environment)},
    )
    entries: list[RunConnection] = []
    problems = [*reading.problems, *_twice(reading.pairs), *_unheard(reading.pairs, wishes)]
    if not (reading.pairs or problems):
        problems.append(Problem("", "there is no name in it"))
    for pair in reading.pairs:
        planned = _planned(pair, there, wishes)
        for problem in _against(pair, planned, there, wishes):
            problems.append(problem)
        entries.append(planned)
    # A broken line may be the rest of the value above it, so nothing of such a file is told further.
    notes = () if problems else tuple(_notes(entries, reading, there))
    return Plan(project, environment, tuple(entries), tuple(sorted(problems, key=_position)), notes)


def is_named_like_a_secret(name: str) -> bool:
    """Whether a name promises a secret: what such a variable holds is not put on a screen unasked."""
    return _NAMED_LIKE_A_SECRET.search(name) is not None


@dataclass(frozen=True)
class _There:
    """What the environment has."""

    environment: str
    secrets: Mapping[str, Outline]
    variables: Mapping[str, str] = field(repr=False)


def _planned(pair: Pair, there: _There, wishes: Wishes) -> RunConnection:
    kind, reason = _sorted(pair, there, wishes)
    if kind == "secret":
        known = there.secrets.get(pair.name)
        version = known.last_version + 1 if known else 1
        value = pair.value.encode("utf-8", "surrogatepass")
        allow_short = wishes.allow_short or is_named_like_a_secret(pair.name)
        secret = NewSecret(there.environment, pair.name, value, allow_short=allow_short)
        return RunConnection(pair.name, kind, "version" if known else "new", version, reason, secret)
    change: Change = "new"
    if pair.name in there.variables:
        change = "unchanged" if there.variables[pair.name] == pair.value else "changed"
    return RunConnection(pair.name, kind, change, None, reason, NewVariable(there.environment, pair.name, pair.value))


def _sorted(pair: Pair, there: _There, wishes: Wishes) -> tuple[Kind, str | None]:
    """As asked, else as it is already, else by its name; what says nothing is a secret, if it can be masked."""
    if pair.name in wishes.variables:
        return "variable", "as asked"
    if pair.name in wishes.secrets or wishes.all_secret or pair.name in there.secrets:
        return "secret", None
    if there.variables.get(pair.name) == pair.value:
        return "variable", "as it is"
    if not pair.value:
        return "variable", "empty"
    if is_named_like_a_secret(pair.name):
        return "secret", None
    value = pair.value.encode("utf-8", "surrogatepass")
    if len(value.strip()) < SHORTEST:
        return "variable", "too short to be masked"
    why = drawback(value)
    return ("variable", why) if why else ("secret", None)


def _against(pair: Pair, planned: RunConnection, there: _There, wishes: Wishes) -> Iterator[Problem]:
    name = pair.name
    if planned.kind == "secret" and name in there.variables:
        why = f"{name} is a variable of {there.environment}, and this would be a secret"
        yield Problem(pair.place, f"{why}: say --variable {name}, or delete it first", name)
    if planned.kind == "variable" and name in there.secrets:
        why = f"{name} is a secret of {there.environment}, and cannot become a variable: delete it first"
        yield Problem(pair.place, why, name)
    if name in wishes.secrets and name in wishes.variables:
        yield Problem(pair.place, f"{name} is asked for as a secret and as a variable", name)
    try:
        vault.check(planned.entry)
    except NameRefused as refused:
        yield Problem(pair.place, str(refused), name)
    except ValueRefused as refused:
        hint = f": {refused.hint}" if refused.hint else ""
        empty = f": say --variable {name}" if not pair.value else ""
        yield Problem(pair.place, f"{refused}{hint or empty}", name)


def _twice(pairs: Sequence[Pair]) -> Iterator[Problem]:
    first: dict[str, Pair] = {}
    for pair in pairs:
        if pair.name in first:
            where = first[pair.name].place
            before = "before" if where == pair.place else f"in {where}"
            yield Problem(pair.place, f"{pair.name} stands {before} already", pair.name)
        first.setdefault(pair.name, pair)


def _unheard(pairs: Sequence[Pair], wishes: Wishes) -> Iterator[Problem]:
    names = {pair.name for pair in pairs}
    for option, wished in (("--secret", wishes.secrets), ("--variable", wishes.variables)):
        for name in wished:
            if name not in names:
                yield Problem(option, f"there is no {name} in the file", name)


def _notes(entries: Sequence[RunConnection], reading: Reading, there: _There) -> Iterator[str]:
    if unexpanded := reading.unexpanded():
        yield f"nothing is expanded: ${{…}} stands for itself in {', '.join(unexpanded)}"
    for planned in entries:
        if isinstance(planned.entry, NewVariable):
            continue
        yield from verdict(planned.name, planned.entry.value).notes
        known = there.secrets.get(planned.name)
        if known and known.expires_at:
            yield f"{planned.name} has an expiry, and the imported version will have none"
    yield from _name_notes(entries, there)


def _name_notes(entries: Sequence[RunConnection], there: _There) -> Iterator[str]:
    new = [planned.name for planned in entries if planned.kind == "secret"]
    given_also = aliases({*there.secrets, *new})
    for name in new:
        alias = alias_for(name)
        if alias and name not in given_also:
            yield f'"{name}" is no name of a shell variable, and gets no alias: another name would have {alias} too'
        elif note := shell_note(name):
            yield note


def _position(problem: Problem) -> int:
    found = re.match(r"line (\d+)", problem.place)
    return int(found[1]) if found else 0
