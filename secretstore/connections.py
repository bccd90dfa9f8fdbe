"""The kinds of data sources and catalogs, and what the settings of each may be; secrets stand in them by name alone.

What is refused is named by its field and never quoted: a value may well have been typed in the place of a name.
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
"""The kinds of sources whose endpoint and keys a catalog can take."""

UNNAMED = "?"
"""What a row of the database is called in a run's plan whose name is none."""

SUPABASE_REGION = "us-east-1"
"""Where none is given: Supabase Storage takes signatures for this region from projects of every region."""

_AWS_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_ORDINARY_FIELD = re.compile(r"(?=.{1,24}\Z)[a-z]+(?:[_-][a-z]+)*")
_TOKEN = re.compile(r"(?=[A-Za-z]*\d)[A-Za-z0-9]{16,}")
_HEXADECIMAL = re.compile(r"(?=.*\d)[0-9a-fA-F]{24,}")


def check(role: str, name: str, kind: str, settings: Any) -> "Settings":
    """Return the settings of a data source or catalog, read and found to be in order.

    Args:
        role: `source` or `catalog`.
        kind: one of the kinds of its role.
        settings: what JSON or TOML has: a mapping of fields. A secret stands in it as `{"$secret": NAME}`, or
            `{"$secret": NAME, "field": F}` for one field of a JSON secret.

    Raises:
        NameRefused: the name breaks the rule.
        ConnectionRefused: there is no such kind, or the settings are none of it; all that is wrong is named.
    """
    check_connection_name(name)
    label = f"{role} {name}"
    model = _KINDS[role].get(kind)
    if model is None:
        raise _no_such_kind(role, name, kind)
    if not isinstance(settings, Mapping):
        raise ConnectionRefused(label=label, why="its settings are no object of fields")
    try:
        return model.model_validate(dict(settings))
    except ValidationError as problem:
        found = problem.errors(include_url=False, include_input=False)
    missing = [str(error["loc"][0]) for error in found if error["type"] == "missing"]
    why = "; ".join(_told(model, error) for error in found)
    hint = None
    if A_VALUE in why:
        hint = f'a name is written {{"{KEY}": "NAME"}}; a value is stored first: sealrun secret set NAME'
    if any(error["type"] == "extra_forbidden" for error in found):
        hint = f"the fields of a {role} of kind {kind}: {', '.join(fields_of(role, kind))}"
    raise ConnectionRefused(label=label, why=why, missing=missing, hint=hint)


def kinds(role: str) -> tuple[str, ...]:
    """Return the kinds of a role."""
    return tuple(_KINDS[role])


def fields_of(role: str, kind: str) -> tuple[str, ...]:
    """Return the fields that a kind has, the necessary ones first."""
    fields = _KINDS[role][kind].model_fields
    return tuple(sorted(fields, key=lambda name: not fields[name].is_required()))


def for_run(role: str, name: str, kind: str, settings: str) -> RunConnection:
    """Return what travels to a run of a row of the database; its settings are JSON text, and need not be in order."""
    document = None
    if not isinstance(name, str) or not isinstance(kind, str):  # SQLite keeps what it is given
        return RunConnection(role, UNNAMED, UNNAMED, {}, "its row cannot be read")
    try:
        document = json.loads(settings)
        read = check(role, name, kind, document)
    except NameRefused:
        # Nor is it said in a run's output: it may be of any length, and have line breaks.
        return RunConnection(role, UNNAMED, kind, _of_its_role(document), "its name is none that a connection can have")
    except ConnectionRefused as problem:
        return RunConnection(role, name, kind, _of_its_role(document), str(problem.names["why"]))
    except (ValueError, TypeError, RecursionError, KeyError):
        return RunConnection(role, name, kind, {}, "its settings cannot be read")
    return RunConnection(role, name, kind, read.leaves())


def _of_its_role(settings: Any) -> dict[str, Any]:
    """Of settings that are not in order, that they assume a role, and with which secrets.

    A run is given none of these because of a mistake that stands beside them, or of a field of a later version.
    """
    if not isinstance(settings, dict) or settings.get("assume_role") is None:
        return {}
    secrets = {name: given[KEY] for name, given in settings.items() if is_reference(given)}
    named = {name: {KEY: secret} for name, secret in secrets.items() if isinstance(secret, str)}
    return {**named, "assume_role": ""}


def where(role: str, name: str, kind: str, settings: Any) -> str:
    """Return what a connection leads to, in a few words; nothing where its settings are not in order."""
    try:
        return check(role, name, kind, settings).where()
    except (NameRefused, ConnectionRefused, TypeError, KeyError):
        return ""


def shape(kind: str, field: str) -> str | None:
    """Return what the secret must look like that a field names, in a few words; None where it is the bare value."""
    if field == "credentials":
        names = ("access_key_id", "secret_access_key") if kind == "supabase-storage" else _AWS_KEYS
        return f"JSON with {names[0]} and {names[1]}"
    return {"url": "a URL, as postgresql://user:password@host/database", "credential": "client-id:client-secret"}.get(
        field
    )


def looks_like_a_value(name: str) -> bool:
    """Whether a name looks like a token, as where a value was typed in its place.

    A name has words; a token has 16 or more letters and digits in a row, or is one long number in hexadecimal.
    """
    parts = re.split(r"[._-]", name)
    return any(_TOKEN.fullmatch(part) for part in parts) or _HEXADECIMAL.fullmatch("".join(parts)) is not None


class Settings(BaseModel):
    """The settings of a data source or catalog; each class below is a kind."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    def stored(self) -> dict[str, Any]:
        """As they were given, without what was left out."""
        return self.model_dump(exclude_none=True)

    def leaves(self) -> dict[str, Any]:
        """As runs are given them: what follows from the others is filled in, and each reference is one value."""
        return self.stored()

    def where(self) -> str:
        """What it leads to, in a few words."""
        return ""


class AwsKeys(Settings):
    """Settings with the keys of AWS, in one JSON secret or in several."""

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
        """Whether it has any."""
        return self.credentials is not None or self.access_key_id is not None

    def leaves(self) -> dict[str, Any]:
        """With each key as a field of the JSON secret."""
        return _with_keys(super().leaves(), *_AWS_KEYS)


class S3(AwsKeys):
    """A bucket of Amazon S3, or of anything that speaks its protocol. Without keys it is read anonymously."""

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
            raise refused("assume_role needs the keys it is assumed with: credentials")
        for name in ("bucket", "prefix", "region", "endpoint"):
            # They go into the policy and into the run, which is given none of this source's secrets.
            if is_reference(getattr(self, name)):
                raise refused(f"{name} cannot be taken from a secret where there is assume_role")
        return self

    def leaves(self) -> dict[str, Any]:
        """With the addressing: most servers that are not Amazon's know none but path."""
        return {"addressing": "path" if self.endpoint else "auto", **super().leaves()}

    def where(self) -> str:
        """The bucket and the prefix, and the server where it is not Amazon's."""
        return _bucket_url(self.bucket, self.prefix) + (f" at {_shown(self.endpoint)}" if self.endpoint else "")


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
            raise refused("either project, or endpoint where Supabase is self-hosted, is necessary, and not both")
        return self

    def leaves(self) -> dict[str, Any]:
        """With the project's endpoint."""
        settings = _with_keys(super().leaves(), "access_key_id", "secret_access_key", "session_token")
        if project := settings.pop("project", None):
            settings["endpoint"] = f"https://{project}.storage.supabase.co/storage/v1/s3"
        return {"region": SUPABASE_REGION, **settings, "addressing": "path"}

    def where(self) -> str:
        """The bucket and the prefix, and the project or server."""
        return f"{_bucket_url(self.bucket, self.prefix)} at {_shown(self.endpoint or self.project)}"


class Postgres(Settings):
    """A PostgreSQL database; its whole URL is a secret."""

    url: Secret

    def where(self) -> str:
        """The name of the secret."""
        return _shown(self.url)


class UnityCatalog(Settings):
    """A Unity Catalog, of Databricks or of anything that speaks its open API."""

    endpoint: Url
    token: Secret
    warehouse: Text | None = None

    def where(self) -> str:
        """The server, and the catalog's name."""
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
            raise refused("token and credential are two ways to be let in: leave out one")
        return self

    def where(self) -> str:
        """The server, and the warehouse."""
        return _with_warehouse(self.endpoint, self.warehouse)


class Glue(AwsKeys):
    """The AWS Glue Data Catalog."""

    region: Region
    catalog_id: Text | None = None
    endpoint: Url | None = None
    warehouse: Location | None = None
    source: SourceName | None = None

    def where(self) -> str:
        """The region or server, and the warehouse."""
        return _with_warehouse(self.endpoint or self.region, self.warehouse)


_KINDS: dict[str, dict[str, type[Settings]]] = {
    SOURCE: {"s3": S3, "supabase-storage": SupabaseStorage, "postgres": Postgres},
    CATALOG: {"unity-catalog": UnityCatalog, "iceberg-rest": IcebergRest, "glue": Glue},
}


def _with_keys(settings: dict[str, Any], access: str, secret: str, session: str) -> dict[str, Any]:
    """The settings with the keys as fields of the JSON secret that `credentials` names, the last one optional."""
    whole = settings.pop("credentials", None)
    if whole is not None:
        settings["access_key_id"] = {**whole, FIELD: access}
        settings["secret_access_key"] = {**whole, FIELD: secret}
        settings["session_token"] = {**whole, FIELD: session, OPTIONAL: True}
    return settings


def _bucket_url(bucket: Given, prefix: Given | None) -> str:
    return f"s3://{_shown(bucket)}" + (f"/{_shown(prefix)}" if prefix else "")


def _with_warehouse(place: Given, warehouse: Given | None) -> str:
    return _shown(place) + (f", {_shown(warehouse)}" if warehouse else "")


def _shown(given: Given | None) -> str:
    """A text, or a reference as `$NAME` or `$NAME.field`."""
    if isinstance(given, dict):
        return f"${given[KEY]}" + (f".{given[FIELD]}" if FIELD in given else "")
    return given or ""


# -- what is said


def _no_such_kind(role: str, name: str, kind: str) -> ConnectionRefused:
    other = "catalog" if role == "source" else "source"
    hint = None
    if kind in _KINDS[other]:
        hint = f"{kind} is a kind of {other}: sealrun {other} create {name} --kind {kind}"
    elif close := _beginning_with(kind.lower(), _KINDS[role]) or _close(kind.lower(), _KINDS[role]):
        hint = f"did you mean {close}?"
    why = f"unknown kind; a {role} is one of {', '.join(_KINDS[role])}"
    return ConnectionRefused(label=f"{role} {name}", why=why, hint=hint)


def _told(model: type[Settings], error: Any) -> str:
    """One problem, named by its field; pydantic's own words might quote what was typed."""
    place = ".".join(str(step) for step in error["loc"])
    if error["type"] == "extra_forbidden":
        return _unknown_field(model, place)
    if error["type"] == "missing":
        return f"{place} is missing"
    why = error["ctx"]["why"] if error["type"] == "refused" else "is not as it must be"
    return f"{place} {why}" if place else str(why)


def _unknown_field(model: type[Settings], name: str) -> str:
    if close := _close(name, model.model_fields):
        return f"{name} is no field of it, did you mean {close}?"
    # What is no ordinary word might be a value in the place of a field.
    return f"{name} is no field of it" if _ORDINARY_FIELD.fullmatch(name) else "a field of it is unknown"


def _beginning_with(name: str, names: Iterable[str]) -> str | None:
    return next((one for one in names if name and one.startswith(name)), None)


def _close(name: str, names: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(name, names, n=1)), None) if len(name) <= 40 else None
