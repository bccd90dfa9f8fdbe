"""Bringing in a file of names and values: what is secret and what is plain, what would change, what stands against it.

Who imports sees all of it before anything is written. Of a secret nothing is said but its name.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from executor.explain.fit import misfits
from executor.masking.needles import SHORTEST, drawback, verdict
from executor.operations.deployment import Deployment
from executor.schemas.importing import Change, Import, ImportPlan, Kind, Pair, PlannedEntry, Problem
from executor.schemas.sealing import SealedImport, StoredSealed
from secretstore import vault
from secretstore.audit import Actor
from secretstore.errors import NameRefused, ValueRefused
from secretstore.naming import (
    alias_for,
    aliases,
    check_secret_name,
    is_named_like_a_secret,
    shell_note,
    why_asked,
)
from secretstore.pin import GivenPin
from secretstore.plain_values import has_no_value, why_plain
from secretstore.vault import NewSecret, NewVariable, SecretSummary
from secretstore.views import SecretView, VariableView


@dataclass(frozen=True)
class Plan:
    """An import that was looked at: what may be shown of it, and what it would store."""

    shown: ImportPlan
    to_store: tuple[NewSecret | NewVariable, ...] = field(repr=False)
    """Nothing where there is a problem; and a variable that stays as it is, is not in it."""
    pins: tuple[GivenPin, ...] = ()
    """Key pairs that must be the environment's one."""


def plan(at: Deployment, who: Actor, asked: Import) -> Plan:
    """Sort what was read, and compare it with what an environment has. Nothing is written.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    project, environment, reading = asked.project, asked.environment, asked.reading
    there = _There(
        environment,
        {secret.name: secret for secret in vault.summarize_secrets(at.db, project, environment)},
        {variable.name: variable.value for variable in vault.list_variables(at.db, project, environment)},
    )
    entries: list[_Planned] = []
    skipped = tuple(_refused(reading.pairs)) if asked.skip_refused else ()
    left_out = {problem.name for problem in skipped}
    pairs = [pair for pair in reading.pairs if pair.name not in left_out]
    problems = [*reading.problems, *_twice(pairs), *_unheard(reading.pairs, asked)]
    without = [pair for pair in pairs if _has_none(pair, there, asked)]
    pairs = [pair for pair in pairs if pair not in without]
    skipped += tuple(map(_left_out, without))
    if not (reading.pairs or problems):
        problems.append(Problem("", "there is no name in it"))
    if not asked.skip_refused:
        problems += _refused(pairs)
    for pair in pairs:
        planned = _planned(pair, there, asked)
        problems.extend(_against(pair, planned, there, asked))
        entries.append(planned)
    problems.sort(key=_position)
    if problems:
        # A broken line may be the rest of the value above it, so nothing of such a file is told further.
        return Plan(_shown(asked, (), tuple(problems)), ())
    values = {planned.name: planned.entry.value for planned in entries if isinstance(planned.entry, NewSecret)}
    notes = (*_notes(entries, asked, there), *misfits(at.db, project, (environment,), values))
    to_store = tuple(planned.entry for planned in entries if planned.change != "unchanged")
    return Plan(_shown(asked, entries, (), notes, skipped), to_store, asked.pins)


def carry_out(at: Deployment, who: Actor, planned: Plan) -> ImportPlan:
    """Store what a plan has, all of it or nothing.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place any more.
        KeyChanged: the environment's key pair is not the one known to who asks.
    """
    vault.store(at.db, planned.shown.project, planned.to_store, actor=who, pins=at.pins.also(planned.pins))
    return planned.shown


def store_sealed(at: Deployment, who: Actor, asked: SealedImport) -> StoredSealed:
    """Store a file's secrets, which were sealed for a reservation, and its variables: all of it, or nothing.

    It takes what setting a variable takes, as these are set with it.

    Raises:
        SealingOvertaken: what was reserved no longer holds; reserve and seal again.
        SealedRefused: something cannot be what was to be sealed.
        NameRefused, ValueRefused: a name, a variable's value or what is said of a secret's breaks a rule.
        UnknownProject, UnknownEnvironment: there is no such place any more.
    """
    asked.require_within()
    if asked.secrets:
        stored = vault.store_sealed(at.db, asked.project, asked.reservation or "", asked.entries(), actor=who)
    else:
        stored = vault.store(at.db, asked.project, asked.variables, actor=who, pins=None)
    return StoredSealed(
        secrets=tuple(view for view in stored if isinstance(view, SecretView)),
        variables=tuple(view for view in stored if isinstance(view, VariableView)),
    )


@dataclass(frozen=True)
class _Planned:
    """What becomes of one name, and what would be stored of it."""

    name: str
    kind: Kind
    change: Change
    version: int | None
    reason: str | None
    entry: NewSecret | NewVariable = field(repr=False)

    def shown(self) -> PlannedEntry:
        """It without a secret's value, or that of a variable that is named like a secret and may be one."""
        hidden = isinstance(self.entry, NewSecret)
        hidden |= is_named_like_a_secret(self.name) and why_plain(self.name, str(self.entry.value)) is None
        return PlannedEntry(
            name=self.name,
            kind=self.kind,
            change=self.change,
            version=self.version,
            reason=self.reason,
            value=None if hidden else str(self.entry.value),
        )


def _shown(
    asked: Import,
    entries: Sequence[_Planned],
    problems: tuple[Problem, ...],
    notes: tuple[str, ...] = (),
    skipped: tuple[Problem, ...] = (),
) -> ImportPlan:
    return ImportPlan(
        project=asked.project,
        environment=asked.environment,
        entries=tuple(planned.shown() for planned in entries),
        problems=problems,
        notes=notes,
        skipped=skipped,
    )


@dataclass(frozen=True)
class _There:
    """What the environment has."""

    environment: str
    secrets: Mapping[str, SecretSummary]
    variables: Mapping[str, str] = field(repr=False)


def _planned(pair: Pair, there: _There, asked: Import) -> _Planned:
    kind, reason = _sorted(pair, there, asked)
    if kind == "secret":
        known = there.secrets.get(pair.name)
        version = known.last_version + 1 if known else 1
        value = pair.value.encode("utf-8", "surrogatepass")
        allow_short = asked.allow_short or is_named_like_a_secret(pair.name)
        secret = NewSecret(there.environment, pair.name, value, allow_short=allow_short)
        return _Planned(pair.name, kind, "version" if known else "new", version, reason, secret)
    change: Change = "new"
    if pair.name in there.variables:
        change = "unchanged" if there.variables[pair.name] == pair.value else "changed"
    return _Planned(pair.name, kind, change, None, reason, NewVariable(there.environment, pair.name, pair.value))


def _sorted(pair: Pair, there: _There, asked: Import) -> tuple[Kind, str | None]:
    """As asked, else as it is already, else by name and value; what is not clearly plain is a secret."""
    if pair.name in asked.variables:
        return "variable", "as asked"
    if pair.name in asked.secrets or asked.all_secret or pair.name in there.secrets:
        return "secret", None
    if there.variables.get(pair.name) == pair.value:
        return "variable", "as it is"
    if not pair.value:
        return "variable", "empty"
    if is_named_like_a_secret(pair.name):
        why = why_plain(pair.name, pair.value)
        return ("variable", why) if why else ("secret", None)
    value = pair.value.encode("utf-8", "surrogatepass")
    if len(value.strip()) < SHORTEST:
        return "variable", "too short to be masked"
    why = drawback(value) or why_plain(pair.name, pair.value)
    return ("variable", why) if why else ("secret", None)


def _has_none(pair: Pair, there: _There, asked: Import) -> bool:
    """Whether a secret is named and none is there: stored as an empty variable, it would stand in its later way."""
    decided = asked.all_secret or pair.name in (*asked.secrets, *asked.variables)
    return not decided and pair.name not in there.variables and has_no_value(pair.name, pair.value)


def _left_out(pair: Pair) -> Problem:
    what = "empty" if not pair.value.strip() else "no value but null"
    return Problem(pair.place, f"{pair.name} is {what}: left out; --variable {pair.name} stores it so", pair.name)


def _against(pair: Pair, planned: _Planned, there: _There, asked: Import) -> Iterator[Problem]:
    name = pair.name
    if planned.kind == "secret" and name in there.variables:
        why = f"{name} is a variable of {there.environment}, and this would be a secret"
        yield Problem(pair.place, f"{why}: say --variable {name}, or {_deletion('variable', name, asked)}", name)
    if planned.kind == "variable" and name in there.secrets:
        why = f"{name} is a secret of {there.environment}, and cannot become a variable"
        yield Problem(pair.place, f"{why}: {_deletion('secret', name, asked)}", name)
    if name in asked.secrets and name in asked.variables:
        yield Problem(pair.place, f"{name} is asked for as a secret and as a variable", name)
    try:
        vault.check(planned.entry)
    except NameRefused:
        return  # told with the other refused names
    except ValueRefused as refused:
        hint = f": {refused.hint}" if refused.hint else ""
        empty = f": say --variable {name}" if not pair.value else ""
        yield Problem(pair.place, f"{refused}{hint or empty}", name)


def _deletion(kind: Kind, name: str, asked: Import) -> str:
    return f"delete it first: sealrun {kind} delete {name} -p {asked.project} -e {asked.environment}"


def _refused(pairs: Sequence[Pair]) -> Iterator[Problem]:
    for pair in pairs:
        try:
            check_secret_name(pair.name, pair.value)
        except NameRefused as refused:
            yield Problem(pair.place, str(refused), pair.name, refused_name=True)


def _twice(pairs: Sequence[Pair]) -> Iterator[Problem]:
    first: dict[str, Pair] = {}
    for pair in pairs:
        if pair.name in first:
            where = first[pair.name].place
            before = "before" if where == pair.place else f"in {where}"
            yield Problem(pair.place, f"{pair.name} stands {before} already: remove one of the two", pair.name)
        first.setdefault(pair.name, pair)


def _unheard(pairs: Sequence[Pair], asked: Import) -> Iterator[Problem]:
    names = {pair.name for pair in pairs}
    for option, wished in (("--secret", asked.secrets), ("--variable", asked.variables)):
        for name in wished:
            if name not in names:
                yield Problem(option, f"there is no {name} in the file", name)


def _notes(entries: Sequence[_Planned], asked: Import, there: _There) -> Iterator[str]:
    if unexpanded := asked.reading.unexpanded():
        yield f"nothing is expanded: ${{…}} stands for itself in {', '.join(unexpanded)}"
    for planned in entries:
        if why := why_asked(planned.name):
            yield f"{planned.name}: {why}"
        if isinstance(planned.entry, NewVariable):
            continue
        yield from verdict(planned.name, planned.entry.value).notes
        known = there.secrets.get(planned.name)
        if known and known.expires_at:
            yield f"{planned.name} has an expiry, and the imported version will have none"
    yield from _name_notes(entries, there)


def _name_notes(entries: Sequence[_Planned], there: _There) -> Iterator[str]:
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
