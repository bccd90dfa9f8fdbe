"""What data sources and catalogs bring into a run: files and variables that libraries read, and needles.

Settings name secrets, whose values come from the opener. What cannot be resolved is left out, with a message that names
connection, field and secret. No message quotes a value.
"""

import string
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from executor.environment import aws_files, iceberg, libpq
from executor.environment.assumed import Assumed
from executor.environment.references import filled
from executor.environment.values import Unusable, check_visible_ascii
from executor.masking.needles import drawback, verdict
from secretstore.run_connection import CATALOG, SOURCE, RunConnection

AWS_CONFIG, AWS_CREDENTIALS, PG_SERVICES = "aws-config", "aws-credentials", "pg-services"
STORAGE = ("s3", "supabase-storage")

# The project's own choice of AWS identity or workspace: if it sets one of these, none is chosen for it. A profile would
# come before keys in variables.
OWN_AWS = frozenset(
    ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
)
OWN_UNITY = frozenset(("DATABRICKS_HOST", "DATABRICKS_TOKEN"))

_LONG_LIVED = ("access_key_id", "secret_access_key", "session_token", "assume_role", "external_id", "sts_endpoint")
_KEYS = ("access_key_id", "secret_access_key", "session_token", "token")
_NAME = frozenset(string.ascii_lowercase + string.digits + "-")


@dataclass
class Derived:
    """What the connections of a run bring into it."""

    entries: dict[str, str] = field(default_factory=dict)
    """Variables of the run."""

    files: dict[str, bytes] = field(default_factory=dict)
    """Files of its private folder, by name."""

    needles: dict[str, bytes] = field(default_factory=dict)
    """Each resolved value, by its name in notes: `source lake secret_access_key`."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By `source/lake`: the document of which the run's own process makes an object."""

    left_out: dict[str, str] = field(default_factory=dict)
    """By `source/lake`: why the run does not have it."""

    notes: list[str] = field(default_factory=list)
    """What a user should know about the connections that the run has."""

    origins: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By variable: its connections, as `source lake`."""

    def __repr__(self) -> str:
        """Names only."""
        names = {name: sorted(getattr(self, name)) for name in ("entries", "files", "objects", "left_out")}
        return f"Derived({names})"


def derive(
    plan: Sequence[RunConnection],
    secrets: Mapping[str, bytes],
    assumed: Mapping[str, Assumed | str],
    folder: str,
    taken: Collection[str],
) -> Derived:
    """Resolve every connection of a run and collect what they bring.

    Args:
        plan: the run's data sources and catalogs.
        secrets: name to value, as opened.
        assumed: by source, short-lived credentials, or why there are none.
        folder: the run's private folder, as its processes see it.
        taken: names of variables that the project sets itself and keeps.
    """
    derived = Derived()
    for planned in sorted(plan, key=lambda one: one.role == CATALOG):  # a catalog may name a source
        try:
            derived.objects[planned.key] = _resolved(planned, secrets, assumed, derived)
        except Unusable as why:
            derived.left_out[planned.key] = f"{planned.label}: {why}"
    for kind in (_storage, _postgres, _catalogs, _unity):
        for name, value, stands_for in kind(plan, derived, folder, taken):
            if name not in taken:
                derived.entries[name] = value
                derived.origins[name] = tuple(f"{one['role']} {one['name']}" for one in stands_for)
    for label, needle in derived.needles.items():
        found = verdict(label, needle)
        if not found.maskable:
            derived.notes += found.notes
    return derived


# -- one connection


def _resolved(
    planned: RunConnection, secrets: Mapping[str, bytes], assumed: Mapping[str, Assumed | str], derived: Derived
) -> dict[str, Any]:
    """Return the document of one connection; add its needles to `derived` once it is complete.

    Raises:
        Unusable: it cannot be resolved.
    """
    if planned.refused is not None:
        raise Unusable(planned.refused)
    kinds = _SOURCES if planned.role == SOURCE else _CATALOGS
    if planned.kind not in kinds:
        raise Unusable("this version does not know its kind")
    if not (planned.name[:1].isalpha() and len(planned.name) <= 63 and _NAME.issuperset(planned.name)):
        raise Unusable("its name has characters other than a-z, 0-9 and -")
    needles: dict[str, bytes] = {}  # apart until all is resolved: a connection that is left out brings none
    settings = dict(planned.settings)
    if planned.assumes_role:
        settings = {name: value for name, value in settings.items() if name not in _LONG_LIVED}
        settings |= _short_lived(assumed.get(planned.name), needles)
    resolved = {name: filled(value, name, secrets, needles) for name, value in settings.items()}
    document = {name: value for name, value in resolved.items() if value is not None}
    for name in _KEYS:  # they go into HTTP headers, and into files that other programs read
        if name in document:
            check_visible_ascii(name, document[name])
    document |= {"role": planned.role, "kind": planned.kind, "name": planned.name}
    kinds[planned.kind](document, derived, needles)
    derived.needles |= {f"{planned.label} {place}": value for place, value in needles.items()}
    return document


def _short_lived(answer: Assumed | str | None, needles: dict[str, bytes]) -> dict[str, str]:
    if not isinstance(answer, Assumed):
        raise Unusable(answer or "there are no short-lived credentials for its role")
    credentials: dict[str, str] = asdict(answer)
    needles |= {name: value.encode() for name, value in credentials.items() if name != "expires_at"}
    return credentials


# -- by kind: complete the document, and add what else to mask


def _storage_source(document: dict[str, Any], derived: Derived, needles: dict[str, bytes]) -> None:
    _require(document, "bucket")
    _strings(document, "prefix")
    for name in ("region", "endpoint", "addressing"):
        if name in document:
            check_visible_ascii(name, document[name])


def _postgres_source(document: dict[str, Any], derived: Derived, needles: dict[str, bytes]) -> None:
    _require(document, "url")
    parameters = libpq.parameters(document["url"])
    if (url := libpq.without_driver(document["url"])) != document["url"]:
        document["url"] = url
        needles["url without its driver"] = url.encode()
    parts = {name: parameters[name] for name in libpq.SECRET if parameters.get(name)}
    _mask_parts(document, parts, derived, needles)


def _rest_catalog(document: dict[str, Any], derived: Derived, needles: dict[str, bytes]) -> None:
    _require(document, "endpoint")
    _strings(document, "warehouse", "token", "credential", "oauth2_server", "scope")
    _take_source(document, derived)
    if ":" in document.get("credential", ""):
        _mask_parts(document, {"client secret": document["credential"].partition(":")[2]}, derived, needles)
    document["properties"] = iceberg.rest(document)


def _glue_catalog(document: dict[str, Any], derived: Derived, needles: dict[str, bytes]) -> None:
    _require(document, "region")
    _strings(document, "catalog_id", "endpoint", "warehouse")
    _take_source(document, derived)
    if "access_key_id" not in document and "expires_at" in document.get("source", {}):
        raise Unusable("its source has credentials for its bucket only: give the catalog its own credentials")
    document["properties"] = iceberg.glue(document)


def _unity_catalog(document: dict[str, Any], derived: Derived, needles: dict[str, bytes]) -> None:
    _require(document, "endpoint", "token")
    _strings(document, "warehouse")
    document["properties"] = iceberg.unity(document) if "warehouse" in document else {}


_Complete = Callable[[dict[str, Any], Derived, dict[str, bytes]], None]
_SOURCES: dict[str, _Complete] = {
    "s3": _storage_source,
    "supabase-storage": _storage_source,
    "postgres": _postgres_source,
}
_CATALOGS: dict[str, _Complete] = {
    "iceberg-rest": _rest_catalog,
    "glue": _glue_catalog,
    "unity-catalog": _unity_catalog,
}


def _require(document: dict[str, Any], *names: str) -> None:
    """Refuse a document in which one of these is missing or not text: its database row may never have been checked."""
    for name in names:
        if name not in document:
            raise Unusable(f"it has no {name}")
    _strings(document, *names)


def _strings(document: dict[str, Any], *names: str) -> None:
    for name in names:
        if not isinstance(document.get(name, ""), str):
            raise Unusable(f"its {name} is not text")


def _mask_parts(document: dict[str, Any], parts: dict[str, str], derived: Derived, needles: dict[str, bytes]) -> None:
    """Mask parts of a value, too, unless that would ruin the log: a password may be an everyday word."""
    for place, text in parts.items():
        if (why := drawback(text.encode())) is None:
            needles[place] = text.encode()
        else:
            label = f"{document['role']} {document['name']} {place}"
            derived.notes.append(f"{label} is {why}: it is not masked on its own")


def _take_source(document: dict[str, Any], derived: Derived) -> None:
    """Put the document of the source that a catalog names into the catalog's."""
    name = document.get("source")
    if name is None:
        return
    found = derived.objects.get(f"{SOURCE}/{name}")
    if found is None:
        why = derived.left_out.get(f"{SOURCE}/{name}")
        raise Unusable(f"its source is left out: {why}" if why else "this run does not have the source that it names")
    if found["kind"] not in STORAGE:
        raise Unusable("the source that it names is not a storage")
    document["source"] = found


# -- what the connections bring together


# A variable, its value, and the documents of its connections.
_Brought = Iterator[tuple[str, str, Sequence[Mapping[str, Any]]]]


def _there(plan: Sequence[RunConnection], derived: Derived, *kinds: str) -> tuple[list[dict[str, Any]], bool]:
    """Return the resolved connections of these kinds, and whether there is just one and none was left out."""
    planned = [one for one in plan if one.kind in kinds]
    there = [derived.objects[one.key] for one in planned if one.key in derived.objects]
    return there, len(planned) == len(there) == 1


def _storage(plan: Sequence[RunConnection], derived: Derived, folder: str, taken: Collection[str]) -> _Brought:
    sources, alone = _there(plan, derived, *STORAGE)
    if not sources:
        return
    derived.files[AWS_CONFIG] = aws_files.config(sources)
    derived.files[AWS_CREDENTIALS] = aws_files.credentials(sources)
    yield "AWS_CONFIG_FILE", f"{folder}/{AWS_CONFIG}", sources
    yield "AWS_SHARED_CREDENTIALS_FILE", f"{folder}/{AWS_CREDENTIALS}", sources
    if alone and OWN_AWS.isdisjoint(taken):
        yield "AWS_PROFILE", sources[0]["name"], sources


def _postgres(plan: Sequence[RunConnection], derived: Derived, folder: str, taken: Collection[str]) -> _Brought:
    sources, _ = _there(plan, derived, "postgres")
    services: list[bytes] = []
    named = []
    for source in sources:
        try:
            services.append(libpq.service(source["name"], libpq.parameters(source["url"])))
            named.append(source)
        except Unusable as why:
            derived.notes.append(f"source {source['name']} is not a libpq service in this run: {why}")
    if not services:
        return
    derived.files[PG_SERVICES] = b"\n".join(services)
    # No PGSERVICE, even for a single source: libpq would use its password for every URL without one, whatever its host.
    yield "PGSERVICEFILE", f"{folder}/{PG_SERVICES}", named


def _catalogs(plan: Sequence[RunConnection], derived: Derived, folder: str, taken: Collection[str]) -> _Brought:
    for catalog in _there(plan, derived, *_CATALOGS)[0]:
        try:
            for name, value in iceberg.variables(catalog["name"], catalog["properties"]).items():
                yield name, value, [catalog]
        except Unusable as why:
            derived.notes.append(f"catalog {catalog['name']} has no PyIceberg variables in this run: {why}")


def _unity(plan: Sequence[RunConnection], derived: Derived, folder: str, taken: Collection[str]) -> _Brought:
    catalogs, alone = _there(plan, derived, "unity-catalog")
    if alone and OWN_UNITY.isdisjoint(taken):  # the project's own host must not get our token
        yield "DATABRICKS_HOST", catalogs[0]["endpoint"], catalogs
        yield "DATABRICKS_TOKEN", catalogs[0]["token"], catalogs
