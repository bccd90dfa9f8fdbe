"""The kinds of data sources and catalogs, and the settings of each, which refer to secrets by name.

Refusals name the field and never quote the text: it may be a value that was typed instead of a name.
"""

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from secretstore.connection_fields import (
    A_VALUE,
    Addressing,
    Bucket,
    Given,
    Location,
    PlainUrl,
    Prefix,
    ProjectRef,
    Region,
    RoleArn,
    Secret,
    SourceName,
    Text,
    Url,
    WholeSecret,
    refused,
)
from secretstore.errors import ConnectionRefused, NameRefused
from secretstore.naming import check_connection_name
from secretstore.run_connection import CATALOG, FIELD, KEY, OPTIONAL, SOURCE, RunConnection, is_reference

Role = Literal["source", "catalog"]

S3_LIKE = ("s3", "supabase-storage")
"""The kinds of sources whose endpoint and keys a catalog can use."""

UNNAMED = "?"
"""The name for a row whose own is invalid."""

SUPABASE_REGION = "us-east-1"
"""The default: Supabase Storage accepts signatures for this region from projects of every region."""

_AWS_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_ORDINARY_FIELD = re.compile(r"(?=.{1,24}\Z)[a-z]+(?:[_-][a-z]+)*")
_TOKEN = re.compile(r"(?=[A-Za-z]*\d)[A-Za-z0-9]{16,}")
_HEXADECIMAL = re.compile(r"(?=.*\d)[0-9a-fA-F]{24,}")


def check(role: str, name: str, kind: str, settings: Any) -> "Settings":
    """Check and return the settings of a data source or catalog.

    Args:
        role: `source` or `catalog`.
        kind: one of the kinds of its role.
        settings: a mapping of fields, from JSON or TOML. A secret is referred to as `{"$secret": NAME}`, or
            `{"$secret": NAME, "field": F}` for one field of a JSON secret.

    Raises:
        NameRefused: the name breaks its rule.
        ConnectionRefused: the kind is unknown, or its settings are invalid; every problem is named.
    """
    check_connection_name(name)
    label = f"{role} {name}"
    model = _KINDS[role].get(kind)
    if model is None:
        raise _no_such_kind(role, name, kind)
    if not isinstance(settings, Mapping):
        raise ConnectionRefused(label=label, why="its settings are not an object of fields")
    try:
        return model.model_validate(dict(settings))
    except ValidationError as problem:
        found = problem.errors(include_url=False, include_input=False)
    missing = [str(error["loc"][0]) for error in found if error["type"] == "missing"]
    why = "; ".join(_problem(model, error) for error in found)
    hint = None
    if A_VALUE in why:
        hint = f'write a name as {{"{KEY}": "NAME"}}; store a value first: sealrun secret set NAME'
    if any(error["type"] == "extra_forbidden" for error in found):
        hint = f"the fields of a {role} of kind {kind}: {', '.join(fields_of(role, kind))}"
    raise ConnectionRefused(label=label, why=why, missing=missing, hint=hint)


def kinds(role: str) -> tuple[str, ...]:
    """Return the kinds of a role."""
    return tuple(_KINDS[role])


def fields_of(role: str, kind: str) -> tuple[str, ...]:
    """Return the fields of a kind, the required ones first."""
    fields = _KINDS[role][kind].model_fields
    return tuple(sorted(fields, key=lambda name: not fields[name].is_required()))


def for_run(role: str, name: str, kind: str, settings: str) -> RunConnection:
    """Return a row of the database as a run gets it; its settings are JSON text, and may be invalid."""
    document = None
    if not isinstance(name, str) or not isinstance(kind, str):  # SQLite keeps any type in any column
        return RunConnection(role, UNNAMED, UNNAMED, {}, "its row cannot be read")
    try:
        document = json.loads(settings)
        read = check(role, name, kind, document)
    except NameRefused:
        # The name must not reach a run's output: it may be of any length, and have line breaks.
        return RunConnection(role, UNNAMED, kind, _of_its_role(document), "its name is invalid")
    except ConnectionRefused as problem:
        return RunConnection(role, name, kind, _of_its_role(document), str(problem.names["why"]))
    except (ValueError, TypeError, RecursionError, KeyError):
        return RunConnection(role, name, kind, {}, "its settings cannot be read")
    return RunConnection(role, name, kind, read.leaves())


def _of_its_role(settings: Any) -> dict[str, Any]:
    """Return from invalid settings only that they assume a role, and with which secrets.

    Those secrets must not reach a run because of a mistake beside them, or a field of a later version.
    """
    if not isinstance(settings, dict) or settings.get("assume_role") is None:
        return {}
    secrets = {name: given[KEY] for name, given in settings.items() if is_reference(given)}
    named = {name: {KEY: secret} for name, secret in secrets.items() if isinstance(secret, str)}
    return {**named, "assume_role": ""}


def where(role: str, name: str, kind: str, settings: Any) -> str:
    """Return what a connection leads to, in a few words; nothing if its settings are invalid."""
    try:
        return check(role, name, kind, settings).where()
    except (NameRefused, ConnectionRefused, TypeError, KeyError):
        return ""


def shape(kind: str, field: str) -> str | None:
    """Return the form of the secret that a field names, in a few words; None for the bare value."""
    if field == "credentials":
        names = ("access_key_id", "secret_access_key") if kind == "supabase-storage" else _AWS_KEYS
        return f"JSON with {names[0]} and {names[1]}"
    forms = {"url": "a URL, postgresql://user:password@host/database", "credential": "client-id:client-secret"}
    return forms.get(field)


def looks_like_a_value(name: str) -> bool:
    """Whether a name looks like a token that was typed instead of one.

    A name has words; a token has 16 or more letters and digits in a row, or is one long hexadecimal number.
    """
    parts = re.split(r"[._-]", name)
    return any(_TOKEN.fullmatch(part) for part in parts) or _HEXADECIMAL.fullmatch("".join(parts)) is not None


class Settings(BaseModel):
    """The settings of a data source or catalog; each class below is a kind."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    def stored(self) -> dict[str, Any]:
        """Return them as they were given, without empty fields."""
        return self.model_dump(exclude_none=True)

    def leaves(self) -> dict[str, Any]:
        """Return them as runs get them: with derived fields, each reference to one value."""
        return self.stored()

    def where(self) -> str:
        """Return what it leads to, in a few words."""
        return ""


class AwsKeys(Settings):
    """Settings with AWS keys, in one JSON secret or in several."""

    credentials: WholeSecret | None = None
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.credentials and (self.access_key_id or self.secret_access_key or self.session_token):
            raise refused("credentials holds all keys: leave out access_key_id, secret_access_key and session_token")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise refused("access_key_id and secret_access_key go together")
        if self.session_token and not self.access_key_id:
            raise refused("session_token goes with access_key_id and secret_access_key")
        return self

    def has_keys(self) -> bool:
        """Whether it has keys."""
        return self.credentials is not None or self.access_key_id is not None

    def leaves(self) -> dict[str, Any]:
        """Return them with each key as a field of the JSON secret."""
        return _with_keys(super().leaves(), *_AWS_KEYS)


class S3(AwsKeys):
    """A bucket of Amazon S3, or of a server with its protocol. Without keys access is anonymous."""

    bucket: Bucket
    prefix: Prefix | None = None
    region: Region | None = None
    endpoint: Url | None = None
    addressing: Addressing | None = None
    assume_role: RoleArn | None = None
    external_id: Text | None = None
    sts_endpoint: PlainUrl | None = None

    @model_validator(mode="after")
    def _role_in_order(self) -> Self:
        if self.assume_role is None:
            for name in ("external_id", "sts_endpoint"):
                if getattr(self, name) is not None:
                    raise refused(f"{name} goes with assume_role")
            return self
        if not self.has_keys():
            raise refused("assume_role needs keys to assume it with: credentials")
        for name in ("bucket", "prefix", "region", "endpoint"):
            # These go into the policy and the run, which gets none of this source's secrets.
            if is_reference(getattr(self, name)):
                raise refused(f"{name} cannot come from a secret together with assume_role")
        return self

    def leaves(self) -> dict[str, Any]:
        """Return them with the addressing: most servers other than Amazon's know only path."""
        return {"addressing": "path" if self.endpoint else "auto", **super().leaves()}

    def where(self) -> str:
        return _bucket_url(self.bucket, self.prefix) + (f" at {_display(self.endpoint)}" if self.endpoint else "")


class SupabaseStorage(Settings):
    """A bucket of Supabase Storage, through its S3 protocol."""

    bucket: Bucket
    credentials: WholeSecret
    project: ProjectRef | None = None
    endpoint: Url | None = None
    prefix: Prefix | None = None
    region: Region | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.project is None) == (self.endpoint is None):
            raise refused("give either project, or endpoint if Supabase is self-hosted")
        return self

    def leaves(self) -> dict[str, Any]:
        """Return them with the project's endpoint."""
        settings = _with_keys(super().leaves(), "access_key_id", "secret_access_key", "session_token")
        if project := settings.pop("project", None):
            settings["endpoint"] = f"https://{project}.storage.supabase.co/storage/v1/s3"
        return {"region": SUPABASE_REGION, **settings, "addressing": "path"}

    def where(self) -> str:
        return f"{_bucket_url(self.bucket, self.prefix)} at {_display(self.endpoint or self.project)}"


class Postgres(Settings):
    """A PostgreSQL database; its whole URL is a secret."""

    url: Secret

    def where(self) -> str:
        return _display(self.url)


class UnityCatalog(Settings):
    """A Unity Catalog, of Databricks or of a server with its open API."""

    endpoint: Url
    token: Secret
    warehouse: Text | None = None

    def where(self) -> str:
        return _with_warehouse(self.endpoint, self.warehouse)


class IcebergRest(Settings):
    """An Iceberg catalog behind the REST protocol."""

    endpoint: Url
    warehouse: Location | None = None
    token: Secret | None = None
    credential: Secret | None = None
    oauth2_server: Url | None = None
    scope: Text | None = None
    source: SourceName | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.token and self.credential:
            raise refused("give token or credential, not both")
        return self

    def where(self) -> str:
        return _with_warehouse(self.endpoint, self.warehouse)


class Glue(AwsKeys):
    """The AWS Glue Data Catalog."""

    region: Region
    catalog_id: Text | None = None
    endpoint: Url | None = None
    warehouse: Location | None = None
    source: SourceName | None = None

    def where(self) -> str:
        return _with_warehouse(self.endpoint or self.region, self.warehouse)


_KINDS: dict[str, dict[str, type[Settings]]] = {
    SOURCE: {"s3": S3, "supabase-storage": SupabaseStorage, "postgres": Postgres},
    CATALOG: {"unity-catalog": UnityCatalog, "iceberg-rest": IcebergRest, "glue": Glue},
}


def _with_keys(settings: dict[str, Any], access: str, secret: str, session: str) -> dict[str, Any]:
    """Replace `credentials` by its keys as fields of that JSON secret, the last one optional."""
    whole = settings.pop("credentials", None)
    if whole is not None:
        settings["access_key_id"] = {**whole, FIELD: access}
        settings["secret_access_key"] = {**whole, FIELD: secret}
        settings["session_token"] = {**whole, FIELD: session, OPTIONAL: True}
    return settings


def _bucket_url(bucket: Given, prefix: Given | None) -> str:
    return f"s3://{_display(bucket)}" + (f"/{_display(prefix)}" if prefix else "")


def _with_warehouse(place: Given, warehouse: Given | None) -> str:
    return _display(place) + (f", {_display(warehouse)}" if warehouse else "")


def _display(given: Given | None) -> str:
    """Return a text as it is, a reference as `$NAME` or `$NAME.field`."""
    if isinstance(given, dict):
        return f"${given[KEY]}" + (f".{given[FIELD]}" if FIELD in given else "")
    return given or ""


# -- messages


def _no_such_kind(role: str, name: str, kind: str) -> ConnectionRefused:
    other = "catalog" if role == "source" else "source"
    hint = None
    if kind in _KINDS[other]:
        hint = f"{kind} is a kind of {other}: sealrun {other} create {name} --kind {kind}"
    elif close := _beginning_with(kind.lower(), _KINDS[role]) or _close(kind.lower(), _KINDS[role]):
        hint = f"did you mean {close}?"
    why = f"unknown kind; a {role} is one of {', '.join(_KINDS[role])}"
    return ConnectionRefused(label=f"{role} {name}", why=why, hint=hint)


def _problem(model: type[Settings], error: Any) -> str:
    """Return a problem with its field, in our words: pydantic's own may quote the value."""
    place = ".".join(str(step) for step in error["loc"])
    if error["type"] == "extra_forbidden":
        return _unknown_field(model, place)
    if error["type"] == "missing":
        return f"{place} is missing"
    why = error["ctx"]["why"] if error["type"] == "refused" else "is invalid"
    return f"{place} {why}" if place else str(why)


def _unknown_field(model: type[Settings], name: str) -> str:
    if close := _close(name, model.model_fields):
        return f"{name} is not a field of this kind, did you mean {close}?"
    # Anything but an ordinary word may be a value typed instead of a field.
    return f"{name} is not a field of this kind" if _ORDINARY_FIELD.fullmatch(name) else "one field is unknown"


def _beginning_with(name: str, names: Iterable[str]) -> str | None:
    return next((one for one in names if name and one.startswith(name)), None)


def _close(name: str, names: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(name, names, n=1)), None) if len(name) <= 40 else None
