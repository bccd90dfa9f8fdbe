"""PyIceberg's properties of a catalog, and the variables from which it reads them."""

from collections.abc import Mapping
from typing import Any

from executor.environment.values import Unusable

_DATABRICKS = (".databricks.com", ".azuredatabricks.net", ".databricks.azure.cn", ".databricks.azure.us")


def rest(catalog: Mapping[str, Any]) -> dict[str, str]:
    """Return the properties of a REST catalog."""
    properties = {"type": "rest", "uri": catalog["endpoint"]}
    if "oauth2_server" in catalog:
        properties["oauth2-server-uri"] = catalog["oauth2_server"]
    properties |= {name: catalog[name] for name in ("warehouse", "token", "credential", "scope") if name in catalog}
    return properties | _storage(catalog.get("source"))


def unity(catalog: Mapping[str, Any]) -> dict[str, str]:
    """Return the properties of a Unity Catalog, through its REST endpoint for Iceberg."""
    base = catalog["endpoint"].rstrip("/")
    host = base.partition("://")[2].partition("/")[0].partition(":")[0]
    # Databricks writes only at its own address; the open server's path is read-only there.
    path = "iceberg-rest" if host.endswith(_DATABRICKS) else "iceberg"
    uri = f"{base}/api/2.1/unity-catalog/{path}"
    return {"type": "rest", "uri": uri, "warehouse": catalog["warehouse"], "token": catalog["token"]}


def glue(catalog: Mapping[str, Any]) -> dict[str, str]:
    """Return the properties of AWS Glue, with its own credentials, else those of its source."""
    region = catalog["region"]
    source = catalog.get("source")
    own = catalog if "access_key_id" in catalog else source or {}
    # Named even if it is AWS's own: PyIceberg would use the endpoint of the profile that AWS_PROFILE names.
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    properties = {
        "type": "glue",
        "glue.region": region,
        "glue.endpoint": catalog.get("endpoint", f"https://glue.{region}.{suffix}"),
        **_keys("glue", own),
    }
    if "catalog_id" in catalog:
        properties["glue.id"] = catalog["catalog_id"]
    if "warehouse" in catalog:
        properties["warehouse"] = catalog["warehouse"]
    return properties | (_storage(source) or {"s3.region": region, **_keys("s3", own)})


def variables(name: str, properties: Mapping[str, str]) -> dict[str, str]:
    """Write the properties as the variables that PyIceberg reads.

    It lower-cases a variable's name, splits it at the first two `__` after `PYICEBERG`, and turns a further `__` into
    `.` and `_` into `-`.

    Raises:
        Unusable: PyIceberg cannot read the catalog's name back.
    """
    word = name.upper().replace("-", "_")
    if properties and ("__" in word or word.endswith("_")):
        raise Unusable("it cannot read a name with two dashes in a row or one at its end")
    return {
        f"PYICEBERG_CATALOG__{word}__{key.upper().replace('.', '__').replace('-', '_')}": value
        for key, value in properties.items()
    }


def _storage(source: Mapping[str, Any] | None) -> dict[str, str]:
    if source is None:
        return {}
    properties = _keys("s3", source) or {"s3.anonymous": "true"}
    properties |= {f"s3.{name}": source[name] for name in ("endpoint", "region") if name in source}
    addressing = source.get("addressing", "auto")
    if addressing != "auto":
        properties["s3.force-virtual-addressing"] = "true" if addressing == "virtual" else "false"
    return properties


def _keys(prefix: str, holder: Mapping[str, Any]) -> dict[str, str]:
    names = ("access_key_id", "secret_access_key", "session_token")
    return {f"{prefix}.{name.replace('_', '-')}": holder[name] for name in names if name in holder}
