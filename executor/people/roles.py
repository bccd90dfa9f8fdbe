"""The roles: one table of verbs. What has no line here cannot be done; to read a secret's value is no verb."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from executor.errors import RequestUnclear

Verb = Literal["see", "follow", "seal", "use", "manage", "audit"]

VERBS: Mapping[Verb, str] = MappingProxyType(
    {
        "see": "names, states, receipts, variables and settings; never a secret's value",
        "follow": "what runs leave: logs, results, problems, metrics, outputs and uploaded source",
        "seal": "store and replace secrets",
        "use": "submit, retry, replay and cancel runs, and set variables. Running code is reading: "
        "whoever has this can read every secret that runs are given there",
        "manage": "connections, keys, members, settings and deletion",
        "audit": "read and verify the record of who did what",
    }
)
"""What each verb is about, in words."""


@dataclass(frozen=True)
class Role:
    """A set of verbs that people know by a name."""

    name: str
    verbs: frozenset[Verb]
    says: str
    """What it is for, in a sentence."""

    @property
    def shown_verbs(self) -> tuple[Verb, ...]:
        """Its verbs, in the order of the table of verbs."""
        return tuple(verb for verb in get_args(Verb) if verb in self.verbs)


def _role(name: str, verbs: str, says: str) -> Role:
    known = get_args(Verb)
    return Role(name, frozenset(verb for verb in known if verb in verbs.split()), says)


_READS = "running code is reading the secrets that runs are given"

ROLES: Mapping[str, Role] = MappingProxyType(
    {
        role.name: role
        for role in (
            _role("viewer", "see", "looks at what is there and how runs ended"),
            _role("follower", "see follow", "reads what runs print and leave, too; masking is no wall"),
            _role("sealer", "see seal", "stores secrets, and can read none of them"),
            _role("runner", "see follow use", f"runs code; {_READS}"),
            _role("developer", "see follow seal use", f"stores secrets and runs code; {_READS}"),
            _role(
                "maintainer",
                "see follow seal use manage",
                f"also gives roles, makes connections and environments, and deletes; {_READS}",
            ),
            _role("auditor", "see audit", "reads and verifies the record of who did what"),
            _role("admin", "see follow seal use manage audit", f"does everything there; {_READS}"),
        )
    }
)
"""Every role, by its name. Each may be given for the installation, for a project, or for one environment of it."""

ADMIN = "admin"


def role_named(name: str) -> Role:
    """Return a role.

    Raises:
        RequestUnclear: there is none of this name.
    """
    if name not in ROLES:
        raise RequestUnclear('no role "{name}"; there are {there}', name=name, there=", ".join(ROLES))
    return ROLES[name]


def gives_use(name: str) -> bool:
    """Whether a role lets one run code, and so read secrets."""
    return "use" in ROLES[name].verbs
