"""A run's environment, built from `{}`: a short allow-list, plain variables, then secrets under their exact names.

All of these override what data sources and catalogs bring. A secret that is a file gives its path.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from secretstore.errors import NameRefused, ValueRefused
from secretstore.naming import aliases, check_secret_name, check_submitted_name, check_variable_name

# execve(2) refuses a string over 32 pages, and argv and envp over a quarter of the stack limit (8 MiB by default)
# together. The second limit leaves room for argv and the auxiliary vector.
STRING_LIMIT = 131_071
TOTAL_LIMIT = 2_000_000
_READ_AT_START = {
    "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONUNBUFFERED", "PYTHONUTF8", "PYTHONWARNINGS", "TZ",
}  # fmt: skip
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Environment:
    """The run's variables and files, and the aliases under which it gets secrets, too."""

    entries: dict[bytes, bytes]
    aliases: dict[str, str]
    files: dict[str, bytes] = field(default_factory=dict)
    """Path to content."""

    def __repr__(self) -> str:
        """Names only."""
        return f"Environment({sorted(name.decode() for name in self.entries)})"


def build(
    base: Mapping[str, str],
    variables: Mapping[str, str],
    secrets: Mapping[str, bytes],
    *,
    submitted: Collection[str] = (),
    as_files: Collection[str] = (),
    folder: str = "",
    brought: Mapping[str, str] = {},
) -> Environment:
    """Build the run's environment and check its final names and sizes.

    Args:
        base: the allow-list, see `base_environment`.
        variables: plain configuration of the project and of the submission.
        secrets: name to value, as opened.
        submitted: the names of the variables that whoever submitted the run gave it.
        as_files: the secrets among them that are files.
        folder: the folder of the run's files.
        brought: what data sources and catalogs bring; everything else overrides it.

    Raises:
        NameRefused: a name is both secret and variable, or one that something acts on, see
            `secretstore.acting_names`. Checked again here: a database row does not prove that `set` checked it.
        ValueRefused: a variable is no text, a secret with a NUL byte is not a file, or the kernel would refuse a size.
    """
    refuse_unfit(variables)
    files = {name: f"{folder}/{file}" for name, file in file_names(as_files).items()}
    found = {name: files[name].encode() if name in files else value for name, value in secrets.items()}
    for refusal in name_refusals(variables, secrets, submitted, found):
        raise refusal
    for name, value in secrets.items():
        if b"\0" in value and name not in as_files:
            raise ValueRefused(
                "the secret {name} has a NUL byte, which an environment variable cannot hold",
                name=name,
                hint="set it with --as-file: runs then get it as a file",
            )
    given_also = second_names(base, variables, secrets)
    # Of the base a variable may have only the names that `naming` leaves open; USER is one, which LOGNAME follows.
    names = {"LOGNAME": variables["USER"]} if "USER" in variables else {}
    named = {**brought, **base, **names, **variables}
    entries = {name.encode(): value.encode() for name, value in named.items()}
    for name, entry in found.items():
        entries[name.encode()] = entry
        if name in given_also:
            entries[given_also[name].encode()] = entry
    _check_sizes(entries)
    return Environment(entries, given_also, {path: secrets[name] for name, path in files.items()})


def file_names(secrets: Collection[str]) -> dict[str, str]:
    """Return a file name for each of these secrets: its own name may not be one."""
    return {name: f"secret-{number}" for number, name in enumerate(sorted(secrets), 1)}


def name_refusals(
    variables: Mapping[str, str],
    secrets: Collection[str],
    submitted: Collection[str] = (),
    found: Mapping[str, bytes] = {},
) -> Iterator[NameRefused]:
    """Yield every reason to refuse these names; `build` raises the first.

    Args:
        variables: plain configuration of the project and of the submission.
        secrets: the names of the secrets.
        submitted: the names among the variables that are the submission's.
        found: what the run finds under the names of secrets, where that is known.
    """
    for name, value in variables.items():
        try:
            check_submitted_name(name) if name in submitted else check_variable_name(name, value)
        except NameRefused as refused:
            yield refused
        if name in secrets:
            yield name_taken(name)
    for name in secrets:
        try:
            check_secret_name(name, found.get(name))
        except NameRefused as refused:
            yield refused


def name_taken(name: str) -> NameRefused:
    """Return the refusal of a name that both a secret and a plain variable have."""
    hint = "rename one of them, or leave the variable out"
    return NameRefused("{name} is both a secret and a plain variable", name=name, hint=hint)


def second_names(base: Collection[str], variables: Collection[str], secrets: Collection[str]) -> dict[str, str]:
    """Return the aliases of secrets that have one; an alias never takes a name that is in use."""
    return {name: alias for name, alias in aliases(secrets).items() if alias not in variables and alias not in base}


def unfit(text: str, holder: str = "no variable can hold") -> str | None:
    """Return why a text cannot be given to a program, in a variable or a word; None where it can."""
    if "\0" in text:
        return f"it holds a NUL, which {holder}"
    # A byte that is no UTF-8 is half of a surrogate pair to Python, as is what was half of one before.
    return None if text.isascii() or not _HALF.search(text) else "it is not text in UTF-8"


def refuse_unfit(variables: Mapping[str, str]) -> None:
    """Refuse values that no program can be given; no value is repeated.

    Raises:
        ValueRefused: one of them is none.
    """
    for name, value in variables.items():
        if (why := unfit(value)) is not None:
            hint = "give text in UTF-8, without NUL, or store it as a secret: sealrun secret set NAME --as-file"
            raise ValueRefused(name=name, why=why, hint=hint)


def read_at_start(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a Python reads once, as it starts; `build` refuses what none can read."""
    return {name: value for name, value in variables.items() if name in _READ_AT_START and unfit(value) is None}


def _check_sizes(entries: Mapping[bytes, bytes]) -> None:
    """Refuse what the kernel would refuse: a string that is too long, or too much in all."""
    total = 0
    for name, value in entries.items():
        size = len(name) + 1 + len(value)
        if size > STRING_LIMIT:
            raise _too_large(name.decode(), size, STRING_LIMIT)
        total += size + 1 + 8  # its terminating NUL and its pointer count, too
    if total > TOTAL_LIMIT:
        raise _too_large("the environment of this run", total, TOTAL_LIMIT)


def _too_large(what: str, size: int, limit: int) -> ValueRefused:
    return ValueRefused(
        "{what} is too large for the kernel to pass to a program: {size:,} bytes, at most {limit:,}",
        what=what,
        size=size,
        limit=limit,
        hint="put it into a file of the project, or split it",
    )


def base_environment(
    *,
    home: str,
    temporary: str,
    output: str,
    run_id: str,
    project: str,
    environment: str,
    search_path: str,
    user: str,
    metrics: str | None = None,
) -> dict[str, str]:
    """Return the allow-list: fixed values, nothing of the worker's but its user's name where the run has the same."""
    return {
        "PATH": search_path,
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",  # or what a Python prints into a pipe is not seen before it ends
        "HOME": home,
        "USER": user,
        "LOGNAME": user,
        "TMPDIR": temporary,
        "SEALRUN_RUN_ID": run_id,
        "SEALRUN_PROJECT": project,
        "SEALRUN_ENV": environment,
        "SEALRUN_OUTPUT_DIR": output,
        "SEALRUN_METRICS": f"{metrics or temporary}/sealrun-metrics.jsonl",
    }
