"""What an import would do: what is secret and what is plain, what would change, and what stands against it.

It is worked out where the values are; of what is there it knows names, versions and what is shown openly.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from executor.explain.connections import misfits
from executor.masking.needles import SHORTEST, drawback, verdict
from executor.schemas.importing import Change, Import, ImportPlan, Kind, Pair, PlannedEntry, Problem, There
from secretstore.entries import NewSecret, NewVariable, check
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


@dataclass(frozen=True)
class Plan:
    """An import that was looked at: what may be shown of it, and what it would store."""

    shown: ImportPlan
    to_store: tuple[NewSecret | NewVariable, ...] = field(repr=False)
    """Nothing where there is a problem; and a variable that stays as it is, is not in it."""
    pins: tuple[GivenPin, ...] = ()
    """Key pairs that must be the environment's one."""


def plan(asked: Import, there: There) -> Plan:
    """Sort what was read, and compare it with what an environment has. Nothing is written."""
    reading = asked.reading
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
    notes = (*_notes(entries, asked, there), *dict.fromkeys(misfits(there.connections, values)))
    to_store = tuple(planned.entry for planned in entries if planned.change != "unchanged")
    return Plan(_shown(asked, entries, (), notes, skipped), to_store, asked.pins)


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


def _planned(pair: Pair, there: There, asked: Import) -> _Planned:
    kind, reason = _sorted(pair, there, asked)
    if kind == "secret":
        known = there.secrets.get(pair.name)
        version = known.last_version + 1 if known else 1
        value = pair.value.encode("utf-8", "surrogatepass")
        allow_short = asked.allow_short or is_named_like_a_secret(pair.name)
        secret = NewSecret(asked.environment, pair.name, value, allow_short=allow_short)
        return _Planned(pair.name, kind, "version" if known else "new", version, reason, secret)
    change: Change = "new"
    if pair.name in there.variables:
        change = "unchanged" if there.variables[pair.name] == pair.value else "changed"
    return _Planned(pair.name, kind, change, None, reason, NewVariable(asked.environment, pair.name, pair.value))


def _sorted(pair: Pair, there: There, asked: Import) -> tuple[Kind, str | None]:
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


def _has_none(pair: Pair, there: There, asked: Import) -> bool:
    """Whether a secret is named and none is there: stored as an empty variable, it would stand in its later way."""
    decided = asked.all_secret or pair.name in (*asked.secrets, *asked.variables)
    return not decided and pair.name not in there.variables and has_no_value(pair.name, pair.value)


def _left_out(pair: Pair) -> Problem:
    what = "empty" if not pair.value.strip() else "no value but null"
    return Problem(pair.place, f"{pair.name} is {what}: left out; --variable {pair.name} stores it so", pair.name)


def _against(pair: Pair, planned: _Planned, there: There, asked: Import) -> Iterator[Problem]:
    name = pair.name
    if planned.kind == "secret" and name in there.variables:
        why = f"{name} is a variable of {asked.environment}, and this would be a secret"
        yield Problem(pair.place, f"{why}: say --variable {name}, or {_deletion('variable', name, asked)}", name)
    if planned.kind == "variable" and name in there.secrets:
        why = f"{name} is a secret of {asked.environment}, and cannot become a variable"
        yield Problem(pair.place, f"{why}: {_deletion('secret', name, asked)}", name)
    if name in asked.secrets and name in asked.variables:
        yield Problem(pair.place, f"{name} is asked for as a secret and as a variable", name)
    try:
        check(planned.entry)
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


def _notes(entries: Sequence[_Planned], asked: Import, there: There) -> Iterator[str]:
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


def _name_notes(entries: Sequence[_Planned], there: There) -> Iterator[str]:
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
