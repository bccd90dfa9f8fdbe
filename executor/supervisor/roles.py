"""Short-lived credentials of an S3 source: AWS STS's AssumeRole, asked by the opener with the long-lived ones.

botocore signs and speaks; it is imported here alone, and only for a run that has such a source.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from secretstore.planned import Planned

MARK = "/source/"  # before a source's name, among the names of secrets: none of theirs has a slash


@dataclass(frozen=True)
class Assumed:
    """What a role was given for a while."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: str
    """ISO 8601, in UTC."""


def assume_roles(
    plan: Sequence[Planned], secrets: Mapping[str, bytes], timeout: float | None, run: str
) -> dict[str, Assumed | str]:
    """Short-lived credentials for each source of the plan that assumes a role; a sentence for each that gets none.

    Args:
        plan: sources and catalogs; all but those that assume a role are passed over.
        secrets: the opened values, those of the long-lived credentials among them.
        timeout: seconds that the run may take.
        run: its id, which the session's name has.
    """
    return {planned.name: f"{planned.label}: not built" for planned in plan if planned.assumes_role}


def handed_over(answers: Mapping[str, Assumed | str]) -> dict[str, bytes]:
    """The answers as values for the supervisor, each under a name that no secret has."""
    return {
        MARK + name: json.dumps({"problem": answer} if isinstance(answer, str) else asdict(answer)).encode()
        for name, answer in answers.items()
    }


def told_apart(values: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[str, Assumed | str]]:
    """What the opener handed over: the secrets, and for each source that assumes a role what came of it."""
    secrets: dict[str, bytes] = {}
    assumed: dict[str, Assumed | str] = {}
    for name, value in values.items():
        if not name.startswith(MARK):
            secrets[name] = value
            continue
        answer = json.loads(value)
        assumed[name.removeprefix(MARK)] = answer["problem"] if "problem" in answer else Assumed(**answer)
    return secrets, assumed
