"""A run's environment, built from `{}`: a short allow-list, plain variables, then secrets under their exact names."""

from collections.abc import Mapping
from dataclasses import dataclass

from executor.supervisor.errors import EnvironmentTooLarge, NameTaken
from secretstore.naming import aliases, check_secret_name, check_variable_name

# execve(2) refuses one string over 32 pages, and all of argv and envp over a quarter of the stack limit
# (8 MiB by default). The second is stated with room for argv and the auxiliary vector.
STRING_LIMIT = 131_071
TOTAL_LIMIT = 2_000_000


@dataclass(frozen=True)
class Environment:
    """What the run will see, and under which further name a secret was also given."""

    entries: dict[bytes, bytes]
    aliases: dict[str, str]

    def __repr__(self) -> str:
        """Names only."""
        return f"Environment({sorted(name.decode() for name in self.entries)})"


def build(base: Mapping[str, str], variables: Mapping[str, str], secrets: Mapping[str, bytes]) -> Environment:
    """Put the run's environment together and check the final names and sizes.

    Args:
        base: sealrun's own entries and the allow-list, see `base_environment`.
        variables: plain configuration of the project and of the submission.
        secrets: name to value, as opened.

    Raises:
        NameRefused: a name that a loader, interpreter or shell acts on. Checked here again, on the final names, since a
            row of the database is no proof that `set` was asked.
        NameTaken: a name is both secret and variable.
        EnvironmentTooLarge: the kernel would refuse it.
    """
    for name in variables:
        check_variable_name(name)
        if name in secrets:
            raise NameTaken(name=name)
    for name in secrets:
        check_secret_name(name)
    second_names = {
        name: alias for name, alias in aliases(secrets).items() if alias not in variables and alias not in base
    }
    entries = {name.encode(): value.encode() for name, value in {**variables, **base}.items()}
    for name, value in secrets.items():
        entries[name.encode()] = value
        if name in second_names:
            entries[second_names[name].encode()] = value
    _check_sizes(entries)
    return Environment(entries, second_names)


def base_environment(
    *, home: str, temporary: str, output: str, run_id: str, project: str, environment: str, search_path: str
) -> dict[str, str]:
    """The allow-list: fixed values of ours, nothing of the worker's."""
    return {
        "PATH": search_path,
        "LANG": "C.UTF-8",
        "HOME": home,
        "TMPDIR": temporary,
        "SEALRUN_RUN_ID": run_id,
        "SEALRUN_PROJECT": project,
        "SEALRUN_ENV": environment,
        "SEALRUN_OUTPUT_DIR": output,
    }


def _check_sizes(entries: Mapping[bytes, bytes]) -> None:
    total = 0
    for name, value in entries.items():
        size = len(name) + 1 + len(value)
        if size > STRING_LIMIT:
            raise EnvironmentTooLarge(what=name.decode(), size=size, limit=STRING_LIMIT)
        total += size + 1 + 8  # the string's end and its pointer
    if total > TOTAL_LIMIT:
        raise EnvironmentTooLarge(what="the environment of this run", size=total, limit=TOTAL_LIMIT)
