"""Which one wins where a project's own secret or variable stands beside a data source or catalog.

Each rule is what the library does, tried with it: see `tests/executor/test_precedence_libraries.py`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from executor.environment.connections import OWN_AWS, OWN_POSTGRES, OWN_UNITY, STORAGE
from executor.explain.connections import Foretold
from secretstore.planned import Planned

_FILES = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_WEB_IDENTITY = ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")
_PYICEBERG = "PYICEBERG_CATALOG__"


@dataclass(frozen=True)
class Precedence:
    """One or more names that a project sets itself, or that nothing sets, and what follows for its connections."""

    names: tuple[str, ...]
    said: str


def precedence(
    plan: Sequence[Planned], brought: Foretold, own: Collection[str], values: Mapping[str, str]
) -> Iterator[Precedence]:
    """Say what wins, for those of a plan that a run is given.

    Args:
        plan: the run's data sources and catalogs.
        brought: what they bring.
        own: names of the secrets and variables that the project and the submission set.
        values: those of the variables among them.
    """
    there = [one for one in plan if one.key not in brought.left_out]
    if storage := [one for one in there if one.kind in STORAGE]:
        yield from _keys(storage, brought, own)
        yield from _profiles(storage, own, values)
        yield from _files(storage, own)
        yield from _places(storage, own)
    if databases := [one for one in there if one.kind == "postgres"]:
        yield from _postgres(databases, own, values)
    yield from _iceberg([one for one in there if one.role == "catalog"], brought, own)
    if unity := [one for one in there if one.kind == "unity-catalog"]:
        yield from _unity(unity, brought, own)


def _keys(sources: Sequence[Planned], brought: Foretold, own: Collection[str]) -> Iterator[Precedence]:
    unless = f"unless code names the profile ({_named(sources)})"
    if _KEYS[0] in own and _KEYS[1] in own:
        yield Precedence(
            _KEYS, f"boto3, s3fs, Polars and the AWS CLI use these and not the keys of {_labels(sources)}, {unless}"
        )
    elif _KEYS[0] in own:
        yield Precedence(_KEYS[:1], f"boto3 refuses it without {_KEYS[1]}, {unless}")
    elif "AWS_PROFILE" in brought.sizes and own_of(_WEB_IDENTITY, own) == _WEB_IDENTITY:
        yield Precedence(_WEB_IDENTITY, f"boto3 assumes this role and leaves the keys of {_labels(sources)}, {unless}")
    elif "AWS_PROFILE" not in brought.sizes and not own_of(OWN_AWS, own):
        yield Precedence(
            ("AWS_PROFILE",), f"none is the default where there are several: code names one ({_named(sources)})"
        )


def _profiles(sources: Sequence[Planned], own: Collection[str], values: Mapping[str, str]) -> Iterator[Precedence]:
    """boto3 looks at AWS_DEFAULT_PROFILE first."""
    name = next((name for name in ("AWS_DEFAULT_PROFILE", "AWS_PROFILE") if name in own), None)
    if name is None or own_of(_FILES, own):
        return
    profiles = [one.name for one in sources]
    if name not in values:
        yield Precedence((name,), f"it must be the name of a source ({' or '.join(profiles)}): boto3 refuses any other")
    elif values[name] in profiles:
        yield Precedence((name,), f"source {values[name]} is the default, as it says")
    else:
        yield Precedence(
            (name,),
            f"it names no source that this run has, and boto3 refuses it, unless code names the profile"
            f" ({_named(sources)})",
        )


def _files(sources: Sequence[Planned], own: Collection[str]) -> Iterator[Precedence]:
    named = own_of(_FILES, own)
    if named == _FILES:
        parameters = ", ".join(f"--source PARAM={one.name}" for one in sources)
        yield Precedence(_FILES, f"AWS's libraries find no source by its name: a function can have it ({parameters})")
    elif named == _FILES[:1]:
        yield Precedence(named, f"boto3 finds the keys of {_labels(sources)} by profile, and no region and no endpoint")
    elif named:
        yield Precedence(named, f"boto3 finds region and endpoint of {_labels(sources)} by profile, and no keys")


def _places(sources: Sequence[Planned], own: Collection[str]) -> Iterator[Precedence]:
    of_region = [one for one in sources if "region" in one.settings]
    if "AWS_DEFAULT_REGION" in own and of_region:
        yield Precedence(
            ("AWS_DEFAULT_REGION",),
            f"boto3, s3fs, Polars and the AWS CLI take it for the region of {_labels(of_region)}, named or not",
        )
    elif "AWS_REGION" in own and of_region:
        yield Precedence(
            ("AWS_REGION",), f"Polars takes it for the region of {_labels(of_region)}; boto3 and s3fs do not read it"
        )
    if endpoints := own_of(_ENDPOINTS, own):
        yield Precedence(
            endpoints,
            f"boto3, s3fs and the AWS CLI ask {endpoints[0]} with the keys of {_labels(sources)}, whatever endpoint"
            " that has",
        )


def _postgres(sources: Sequence[Planned], own: Collection[str], values: Mapping[str, str]) -> Iterator[Precedence]:
    services = ", ".join(f"service={one.name}" for one in sources)
    named = own_of(sorted(OWN_POSTGRES), own)
    if "PGSERVICEFILE" in named:
        parameters = ", ".join(f"--source PARAM={one.name}" for one in sources)
        yield Precedence(
            ("PGSERVICEFILE",), f"libpq finds no source by its name: a function can have it ({parameters})"
        )
    elif "PGSERVICE" in named and "PGSERVICE" not in values:
        names = " or ".join(one.name for one in sources)
        yield Precedence(("PGSERVICE",), f"it must be the name of a source ({names}): libpq refuses any other")
    elif "PGSERVICE" in named and values["PGSERVICE"] in [one.name for one in sources]:
        yield Precedence(("PGSERVICE",), f"source {values['PGSERVICE']} is the default, as it says")
    elif "PGSERVICE" in named:
        yield Precedence(
            ("PGSERVICE",),
            f"it names no source that this run has, and libpq refuses it, unless code names one ({services})",
        )
    elif named:
        yield Precedence(
            named, f"libpq uses this and not {_labels(sources)}, unless code names the service ({services})"
        )


def _iceberg(catalogs: Sequence[Planned], brought: Foretold, own: Collection[str]) -> Iterator[Precedence]:
    for catalog in catalogs:
        if named := tuple(sorted(name for name in own if _catalog_of(name) == catalog.name)):
            yield Precedence(
                named, f"PyIceberg takes this over what catalog {catalog.name} brings, and the rest from it"
            )
        keys = f"{_PYICEBERG}{catalog.name.upper().replace('-', '_')}__"
        if _KEYS[0] in own and any(f"{keys}{part}__ACCESS_KEY_ID" in brought.sizes for part in ("S3", "GLUE")):
            yield Precedence(_KEYS, f"PyIceberg uses the keys that catalog {catalog.name} brings, and not these")


def _catalog_of(variable: str) -> str | None:
    """The catalog that a variable is of, as PyIceberg reads it."""
    parts = variable.split("__", 2)
    if len(parts) < 3 or f"{parts[0]}__" != _PYICEBERG:
        return None
    return parts[1].lower().replace("_", "-")


def _unity(catalogs: Sequence[Planned], brought: Foretold, own: Collection[str]) -> Iterator[Precedence]:
    parameters = ", ".join(f"--catalog PARAM={one.name}" for one in catalogs)
    if named := own_of(sorted(OWN_UNITY), own):
        yield Precedence(
            named,
            f"neither host nor token of {_labels(catalogs)} is given beside it: a token is for its own host alone. A"
            f" function can have it ({parameters})",
        )
    elif "DATABRICKS_TOKEN" not in brought.sizes:
        yield Precedence(
            ("DATABRICKS_HOST", "DATABRICKS_TOKEN"),
            f"none is the default where there are several: a function can have one ({parameters})",
        )
    elif {"DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"} <= {*own} and "DATABRICKS_AUTH_TYPE" not in own:
        yield Precedence(
            ("DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"),
            f"Databricks' SDK refuses it beside the token of {_labels(catalogs)}, unless DATABRICKS_AUTH_TYPE chooses",
        )


def own_of(names: Collection[str], own: Collection[str]) -> tuple[str, ...]:
    """Those of some names that the project sets itself."""
    return tuple(name for name in names if name in own)


def _labels(connections: Sequence[Planned]) -> str:
    return " and ".join(one.label for one in connections)


def _named(sources: Sequence[Planned]) -> str:
    return ", ".join(f'profile_name="{one.name}"' for one in sources)
