"""What `sealrun source` and `sealrun catalog` share: settings from options or a file, and what is told of them."""

import json
import re
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from secretstore.run_connection import KEY

from executor.cli import desk
from executor.cli.shown import screen
from executor.errors import FileInvalid, Misuse
from executor.operations import pairs
from secretstore import vault
from secretstore.connections import Role, check, fields_of, kinds, shape
from secretstore.errors import ConnectionRefused
from secretstore.naming import check_connection_name

Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name: lower-case letters, digits and -.")]
File = Annotated[
    str | None,
    typer.Option("--file", metavar="PATH", help="Take kind and settings from a JSON or TOML file; - is stdin."),
]
Replace = Annotated[bool, typer.Option("--replace", help="Give one that exists already these settings.")]
Force = Annotated[bool, typer.Option("--force", help="Even where something names it.")]
Extra = Annotated[list[str] | None, typer.Argument(hidden=True)]

_TOML_LINE = re.compile(r"at line (\d+)")
_FORM = (
    'as JSON: {"kind": "s3", "bucket": "NAME", "credentials": {"$secret": "NAME"}}; '
    'in TOML: credentials = {"$secret" = "NAME"}'
)


@dataclass(frozen=True)
class Option:
    """An option of `create` and what it was given: it fills a field in, or names the secret that does."""

    name: str
    field: str
    given: str | None
    secret: bool = False

    @property
    def value(self) -> Any:
        """What the field is set to."""
        return {KEY: self.given} if self.secret else self.given


def create(
    role: Role,
    name: str,
    kind: str | None,
    given: Sequence[Option],
    file: str | None,
    replace: bool,
    project: str | None,
    environment: str | None,
    extra: Sequence[str] | None,
) -> None:
    """Make a source or catalog, and say what it names and is not there yet.

    Raises:
        Misuse, FileInvalid: what was typed does not go together, or the file is none.
        SecretStoreError: the vault refuses it.
    """
    if extra:
        raise Misuse(
            "one name is taken and no value: what is more belongs to an option, and a secret is given by its name",
            command=f"{role} create",
        )
    check_connection_name(name)
    used = [option for option in given if option.given is not None]
    if file is not None:
        if used:
            told = ", ".join(option.name for option in used)
            raise Misuse(
                "--file has all the settings: leave out {told}",
                told=told,
                command=f"{role} create",
            )
        kind, settings = _document(role, file, kind)
    else:
        if kind is None:
            raise Misuse(
                "say its kind: --kind {kinds}; or give --file PATH",
                kinds=", ".join(kinds(role)),
                command=f"{role} create",
            )
        settings = _settings(role, name, kind, given, used)
    at = desk.sit_down()
    project, environment = desk.project_named(at.settings, project), desk.environment_named(at.settings, environment)
    view = vault.create_connection(
        at.db, project, environment, role, name, kind, settings, actor=at.actor, replace=replace
    )
    verb = "created" if view.created_at == view.updated_at else "replaced"
    screen.say(f"{verb} {view.label} in {project}/{environment}: {view.kind}, {view.where}")
    for lack in view.missing:
        screen.say(f"note: {lacking(view, lack, project)}", "yellow")


def list_(role: Role, project: str | None, environment: str | None, json: bool) -> None:
    """List sources or catalogs."""
    at = desk.sit_down()
    found = vault.list_connections(at.db, desk.project_named(at.settings, project), environment, role)
    if json:
        screen.show_json(found)
        return
    screen.table(
        (role, "environment", "kind", "where", "secrets", "test", "tested", ""),
        [_row(view) for view in found],
        ("bold", "", "", "", "", "", "", "yellow"),
    )


def delete(role: Role, name: str, project: str | None, environment: str | None, force: bool, yes: bool) -> None:
    """Delete a source or catalog, after asking.

    Raises:
        UnknownConnection, InUse: there is none, or a catalog names it.
        NeedsYes: nobody can be asked.
    """
    at = desk.sit_down()
    project, environment = desk.project_named(at.settings, project), desk.environment_named(at.settings, environment)
    view = vault.get_connection(at.db, project, environment, role, name)  # an unknown one is told before it is asked
    if role == "source" and not force:
        vault.require_unnamed(at.db, project, environment, "source", name)
    desk.confirm(f"delete {view.label} of {project}/{environment}; the secrets it names stay", yes)
    vault.delete_connection(at.db, project, environment, role, name, actor=at.actor, force=force)
    screen.say(f"deleted {view.label} of {project}/{environment}")
    if "assume_role" in view.settings:
        told = " and ".join(view.secrets)
        screen.say(
            f"note: no role is assumed with {told} any more: it is a variable of every run that asks for all", "yellow"
        )


def _settings(role: Role, name: str, kind: str, given: Sequence[Option], used: Sequence[Option]) -> dict[str, Any]:
    """The fields that the options fill in; an option that is no field of the kind is told by its own name."""
    fields = fields_of(role, kind) if kind in kinds(role) else None
    if fields is not None and (unfit := [option.name for option in used if option.field not in fields]):
        fit = ", ".join(option.name for option in given if option.field in fields)
        raise Misuse(
            "a {role} of kind {kind} has no {options}",
            options=" and no ".join(unfit),
            role=role,
            kind=kind,
            hint=f"it has {fit}",
        )
    settings = {option.field: option.value for option in used}
    try:
        check(role, name, kind, settings)
    except ConnectionRefused as refused:
        if missing := [option.name for option in given if option.field in refused.missing]:
            refused.advise(f"add {' and '.join(missing)}")
        raise
    return settings


def _document(role: Role, file: str, kind: str | None) -> tuple[str, dict[str, Any]]:
    """The kind and the settings in a file."""
    shown = "stdin" if file == "-" else file
    if file == "-":
        content = pairs.bounded(shown, sys.stdin.buffer.read(pairs.LARGEST_FILE + 1))
    else:
        content = pairs.read_file(file)
    document = _parsed(shown, content)
    written = document.pop("kind", kind)
    if not isinstance(written, str):
        raise _broken(shown, f"it has no kind; a {role} is one of {', '.join(kinds(role))}")
    if kind not in (None, written):
        raise Misuse("--kind and the file name two kinds: leave out --kind", command=f"{role} create")
    return written, document


def _parsed(path: str, content: bytes) -> dict[str, Any]:
    """What a file has; nothing of it is quoted, as a value may stand in it."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _broken(path, "it is not UTF-8 text") from None
    is_json = path.endswith(".json") or (not path.endswith(".toml") and text.lstrip()[:1] in ("{", "["))
    try:
        document = json.loads(text, object_pairs_hook=_once) if is_json else tomllib.loads(text)
    except json.JSONDecodeError as error:
        raise _broken(f"{path}, line {error.lineno}", "invalid JSON") from None
    except tomllib.TOMLDecodeError as error:
        line = _TOML_LINE.search(str(error))
        where = f"line {line[1]}" if line else "last line"
        raise _broken(f"{path}, {where}", "invalid TOML") from None
    except RecursionError:
        raise _broken(path, "it is nested too deeply") from None
    except _Twice:
        raise _broken(path, "it has a field twice") from None
    if not isinstance(document, dict):
        raise _broken(path, "it is not an object of fields")
    return document


class _Twice(Exception):
    """A JSON object has two members of one name, of which a parser would keep the last."""


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise _Twice
    return found


def lacking(view: vault.ConnectionView, lack: vault.Missing, project: str) -> str:
    """What is named and not there, and the command that makes it."""
    where = f"-p {project} -e {view.environment}"
    if lack.what == "source":
        mend = f"sealrun source create {lack.name} {where} --kind s3"
        return f"{lack.field} names the source {lack.name}, which is not there yet: {mend}"
    form = shape(view.kind, lack.field)
    stored = f"store it as {form}" if form else "store it"
    return f"{lack.field} names the secret {lack.name}, which is not there yet; {stored}: " + (
        f"sealrun secret set {lack.name} {where}"
    )


def _row(view: vault.ConnectionView) -> tuple[str, ...]:
    notes = [f"no {lack.what} {lack.name}" for lack in view.missing]
    if view.problem:
        notes.append(view.problem)
    if view.test_outcome == "failed" and view.test_message:
        notes.append(view.test_message)
    return (
        view.name,
        view.environment,
        view.kind,
        view.where,
        ", ".join(view.secrets),
        view.test_outcome or "never",
        screen.moment(view.tested_at),
        "; ".join(notes),
    )


def _broken(path: str, why: str) -> FileInvalid:
    return FileInvalid(path=path, why=why, hint=_FORM)
