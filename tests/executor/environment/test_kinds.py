"""A kind of data source or catalog is known to every room that deals with kinds."""

import pytest

from executor.environment import connections
from executor.inside import handles
from executor.operations import probing
from secretstore.connections import _KINDS, kinds
from secretstore.run_connection import CATALOG, SOURCE

KNOWN = {SOURCE: connections._SOURCES, CATALOG: connections._CATALOGS}
KINDS = [(role, kind) for role in KNOWN for kind in kinds(role)]


@pytest.mark.parametrize("role", KNOWN)
def test_a_run_is_given_every_kind(role: str) -> None:
    """And no other."""
    assert set(KNOWN[role]) == set(kinds(role))


@pytest.mark.parametrize(("role", "kind"), KINDS)
def test_a_function_gets_an_object_of_every_kind(role: str, kind: str) -> None:
    """Of a document with no more than the kind insists on."""
    fields = _KINDS[role][kind].model_fields
    words = {name: "a" for name, field in fields.items() if field.is_required()}
    made = handles.connect({"role": role, "kind": kind, "name": "one", **words})
    assert (made.role, made.kind, made.name) == (role, kind, "one")


@pytest.mark.parametrize(("role", "kind"), KINDS)
def test_every_kind_has_a_probe(role: str, kind: str) -> None:
    """Whose file is there."""
    assert "def probe(connection):" in (probing.PROBES / probing._FILES[kind]).read_text()
