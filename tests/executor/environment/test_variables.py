"""A run's environment is built from nothing, in one order, within the kernel's limits. I3."""

import subprocess

import pytest

from executor.environment.variables import (
    STRING_LIMIT,
    TOTAL_LIMIT,
    Environment,
    base_environment,
    build,
    read_at_start,
)
from secretstore.acting_names import Rule, group_of
from secretstore.errors import NameRefused, ValueRefused

BASE = base_environment(
    home="/w/home",
    temporary="/w/tmp",
    output="/w/output",
    run_id="r1",
    project="shop",
    environment="default",
    search_path="/usr/bin:/bin",
    user="sealrun",
)


def text(environment: Environment) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in environment.entries.items()}


def test_nothing_but_the_list_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """I3: the worker's own environment has no part in it."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "worker's")
    assert text(build(BASE, {}, {})) == {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "HOME": "/w/home",
        "USER": "sealrun",
        "LOGNAME": "sealrun",
        "TMPDIR": "/w/tmp",
        "SEALRUN_RUN_ID": "r1",
        "SEALRUN_PROJECT": "shop",
        "SEALRUN_ENV": "default",
        "SEALRUN_OUTPUT_DIR": "/w/output",
        "SEALRUN_METRICS": "/w/tmp/sealrun-metrics.jsonl",
    }


def test_variables_and_secrets_stand_under_their_exact_names() -> None:
    """Bytes stay bytes; a name a shell cannot hold also gets one it can."""
    built = build(BASE, {"MODE": "schnell ✓"}, {"api.key": b"\xff\xfe", "TOKEN": b"t"})
    ours = {name: value for name, value in built.entries.items() if name.decode() not in BASE}
    assert ours == {
        b"MODE": "schnell ✓".encode(),
        b"api.key": b"\xff\xfe",
        b"API_KEY": b"\xff\xfe",
        b"TOKEN": b"t",
    }
    assert built.aliases == {"api.key": "API_KEY"}


@pytest.mark.parametrize("bad", ["hunter2\0", "hunter2\udcff", "hunter2\ud800"])
def test_a_variable_that_no_program_can_be_given_is_refused(bad: str) -> None:
    """By its name; an interpreter that reads it as it starts is not given it either."""
    said = r'the value of "PYTHONUTF8" is refused: it (holds a NUL|is not text)'
    with pytest.raises(ValueRefused, match=said) as refused:
        build(BASE, {"TZ": "UTC", "PYTHONUTF8": bad}, {})
    assert "hunter2" not in f"{refused.value} {refused.value.hint}"
    assert read_at_start({"TZ": "UTC", "PYTHONUTF8": bad}) == {"TZ": "UTC"}


def test_a_secret_that_is_a_file_leaves_its_path() -> None:
    """Under a name of ours, under the exact name and the one that shells can hold; the value is in no variable."""
    store = bytes(range(256))
    secrets = {"key.store": store, "A_CERT": b"-----BEGIN", "TOKEN": b"t"}
    built = build(BASE, {}, secrets, as_files={"key.store", "A_CERT"}, folder="/p")
    ours = {name.decode(): value.decode() for name, value in built.entries.items() if name.decode() not in BASE}
    second = "/p/secret-2"
    assert ours == {"A_CERT": "/p/secret-1", "key.store": second, "KEY_STORE": second, "TOKEN": "t"}
    assert built.files == {"/p/secret-1": b"-----BEGIN", second: store}


def test_a_file_that_is_none_any_more_cannot_be_a_variable() -> None:
    """A key store's bytes go into no variable: that is said, and they are not quoted."""
    with pytest.raises(ValueRefused, match="the secret STORE has a NUL byte") as refused:
        build(BASE, {}, {"STORE": b"canary\0canary"})
    assert "canary" not in repr(refused.value)


def test_what_connections_bring_stands_under_everything_else() -> None:
    """A variable, a secret or an entry of ours of the same name is the one that counts."""
    brought = {"AWS_PROFILE": "lake", "MODE": "brought", "TOKEN": "brought", "HOME": "/elsewhere"}
    built = text(build(BASE, {"MODE": "own"}, {"TOKEN": b"own"}, brought=brought))
    assert [built[name] for name in brought] == ["lake", "own", "own", "/w/home"]


@pytest.mark.parametrize(
    ("variables", "secrets"),
    [
        ({}, {"api.key": b"1", "api-key": b"2"}),
        ({}, {"api.key": b"1", "API_KEY": b"2"}),
        ({"API_KEY": "plain"}, {"api.key": b"1"}),
        ({}, {"path": b"1", "lang": b"2"}),
        ({}, {"sealrun.run.id": b"1", "ld-preload": b"2", "home": b"3"}),
    ],
)
def test_an_alias_never_takes_a_name(variables: dict[str, str], secrets: dict[str, bytes]) -> None:
    """Shared by two secrets, taken by a secret or a variable, one of ours, or refused: then there is none."""
    built = build(BASE, variables, secrets)
    assert built.aliases == {}
    assert len(built.entries) == len(BASE) + len(variables) + len(secrets)
    assert {name: built.entries[name.encode()] for name in secrets} == secrets
    assert text(build(BASE, variables, {}))["PATH"] == BASE["PATH"]


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "BASH_ENV", "PYTHONPATH", "SEALRUN_RUN_ID", "PATH", "", "A=B", "A\0B", "É"]
)
def test_refused_names_are_refused_here_again(name: str) -> None:
    """A row in the database is no proof that `set` was asked."""
    with pytest.raises(NameRefused):
        build(BASE, {name: "x"}, {})
    with pytest.raises(NameRefused):
        build(BASE, {}, {name: b"x"})


@pytest.mark.parametrize(
    ("name", "harmless"), [("GIT_SSH_COMMAND", None), ("ENV", "prod"), ("NODE_OPTIONS", "--max-old-space-size=64")]
)
def test_what_runs_code_is_for_the_submitter_alone(name: str, harmless: str | None) -> None:
    """A row of a stored variable or secret is refused, unless its value does no harm; the submission's is given."""
    code = "/dev/shm/x"
    assert text(build(BASE, {name: code}, {}, submitted=[name]))[name] == code
    with pytest.raises(NameRefused, match="is refused") as refused:
        build(BASE, {name: code}, {}, submitted=["OTHER"])
    assert "run --env" in str(refused.value.hint)
    with pytest.raises(NameRefused):
        build(BASE, {}, {name: code.encode()})
    if harmless is not None:
        assert text(build(BASE, {name: harmless}, {}))[name] == harmless
        assert text(build(BASE, {}, {name: harmless.encode()}))[name] == harmless
        with pytest.raises(NameRefused):  # what is found under the name is a path
            build(BASE, {}, {name: harmless.encode()}, as_files={name}, folder="/p")


@pytest.mark.parametrize("name", ["LD_PRELOAD", "BASH_ENV", "PYTHONSTARTUP", "PATH", "SEALRUN_RUN_ID"])
def test_what_acts_before_the_runs_code_is_for_nobody(name: str) -> None:
    """A submission's, too."""
    with pytest.raises(NameRefused):
        build(BASE, {name: "x"}, {}, submitted=[name])


def test_every_name_of_ours_is_refused_to_others() -> None:
    """Otherwise a secret could take the run's PATH or HOME."""
    for name in BASE.keys() - {"LANG", "PYTHONUNBUFFERED", "USER", "LOGNAME"}:
        group = group_of(name)
        assert name.startswith("SEALRUN_") or (group is not None and group.rule is Rule.NEVER)


def test_a_run_may_be_told_another_user_name() -> None:
    """By a variable or a secret; who asks for LOGNAME, as getpass does first, hears the same."""
    assert text(build(BASE, {"USER": "app"}, {})) == {**BASE, "USER": "app", "LOGNAME": "app"}
    assert text(build(BASE, {"USER": "app"}, {"LOGNAME": b"db"})) == {**BASE, "USER": "app", "LOGNAME": "db"}


@pytest.mark.parametrize(
    "name", ["LANG", "TZ", "ENV", "PYTHONUNBUFFERED", "PYTHONUTF8", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE"]
)
def test_harmless_names_may_be_set(name: str) -> None:
    """And stand over what a run has of that name by itself."""
    assert text(build(BASE, {name: "0"}, {}))[name] == "0"
    assert text(build(BASE, {}, {name: b"0"}))[name] == "0"


def test_a_name_is_secret_or_variable_and_not_both() -> None:
    """I10: the error names the name."""
    with pytest.raises(NameRefused, match=r"^TOKEN is both"):
        build(BASE, {"TOKEN": "plain"}, {"TOKEN": b"hunter2"})


def test_one_entry_may_have_what_the_kernel_takes() -> None:
    """The limit is exact: the kernel starts a program with it, and with one byte more we have said so before."""
    fits = b"x" * (STRING_LIMIT - len("TOKEN="))
    entries = build(BASE, {}, {"TOKEN": fits}).entries
    assert subprocess.run(["/usr/bin/env"], env=entries, capture_output=True, check=True).stdout.count(b"x") >= len(
        fits
    )
    with pytest.raises(ValueRefused, match=r"^TOKEN is too large .* 131,072 bytes, at most 131,071") as caught:
        build(BASE, {}, {"TOKEN": fits + b"x"})
    assert "xxx" not in str(caught.value)
    with pytest.raises(OSError):
        subprocess.run(["/usr/bin/env"], env={b"TOKEN": fits + b"x"}, check=True)
    # The alias is longer than the name.
    with pytest.raises(ValueRefused, match=r"^_1 is too large"):
        build(BASE, {}, {"1": b"x" * (STRING_LIMIT - 2)})


def test_all_entries_together_are_limited() -> None:
    """To the byte; and the kernel starts a program with that."""

    def some(size: int) -> dict[str, str]:
        """Variables that take `size` bytes, as they are counted: the string, its end, its pointer."""
        found, number = {}, 0
        while size:
            whole = min(size, 100_000) if size - 100_000 > 100 or size <= 100_000 else size - 200
            name = f"V{number:04}"
            found[name] = "x" * (whole - len(name) - 1 - 9)
            size, number = size - whole, number + 1
        return found

    taken = sum(len(name) + 1 + len(value) + 9 for name, value in BASE.items())
    entries = build(BASE, some(TOTAL_LIMIT - taken), {}).entries
    subprocess.run(["/usr/bin/true", "an argument"], env=entries, check=True)
    with pytest.raises(ValueRefused, match=r"environment of this run .* 2,000,001 bytes, at most 2,000,000"):
        build(BASE, some(TOTAL_LIMIT - taken + 1), {})


def test_an_environment_shows_names_alone() -> None:
    """I10: in a traceback or a log."""
    assert "hunter2" not in repr(build(BASE, {}, {"TOKEN": b"hunter2"}))
    assert "TOKEN" in repr(build(BASE, {}, {"TOKEN": b"hunter2"}))
