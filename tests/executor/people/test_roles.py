"""The one table of roles."""

from typing import get_args

import pytest

from executor.errors import RequestUnclear
from executor.people.roles import ROLES, VERBS, Verb, role_named


def test_there_is_no_verb_that_reads_a_value() -> None:
    """What has no line cannot be done."""
    assert set(VERBS) == set(get_args(Verb)) == {"see", "follow", "seal", "use", "manage", "audit"}


def test_every_role_sees_and_one_has_all() -> None:
    """Who has any role somewhere is told that the place is there; admin is the only one with every verb."""
    assert all("see" in role.verbs for role in ROLES.values())
    assert [name for name, role in ROLES.items() if role.verbs == set(VERBS)] == ["admin"]


def test_what_gives_use_says_what_that_means() -> None:
    """Running is reading: in the words of each such role, and of no other."""
    for role in ROLES.values():
        assert ("reading the secrets" in role.says) == ("use" in role.verbs), role.name
    assert "Running code is reading" in VERBS["use"]


def test_storing_is_neither_running_nor_managing() -> None:
    """The roles that a store nobody can read from is about."""
    assert ROLES["sealer"].verbs == {"see", "seal"}
    assert ROLES["runner"].verbs == {"see", "follow", "use"}
    assert ROLES["viewer"].verbs == {"see"}


def test_an_unknown_role_is_answered_with_those_there_are() -> None:
    """As where a name is mistyped."""
    with pytest.raises(RequestUnclear, match='no role "emperor"; there are viewer, follower'):
        role_named("emperor")
