"""A key pair is born in a process of its own, of which only the public and the wrapped half come out. I1."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from executor.errors import KeyOperationFailed
from executor.keys import creation
from executor.keys.creation import birth
from executor.settings import Settings, read_settings
from secretstore import sealing
from secretstore.key_files import create_local_key
from secretstore.key_service import KeyPlace
from secretstore.keyring import wrapping_context
from secretstore.local_keys import LocalKeys
from tests.executor.conftest import ROOT, OrdinaryUser

PLACE = KeyPlace("shop", "p1", "staging", "e1")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home with a key file."""
    found = read_settings({"SEALRUN_HOME": str(tmp_path / "home")})
    create_local_key(Path(found.store.keys.removeprefix("local:")))
    return found


def test_what_is_born_can_seal_and_be_unwrapped_where_it_belongs(settings: Settings) -> None:
    """A different pair each time, wrapped for its project and environment, by the key service of the settings."""
    new = birth(settings)
    first, second = new(PLACE, 1), new(PLACE, 2)
    assert first.fingerprint != second.fingerprint and (first.generation, second.generation) == (1, 2)
    service = LocalKeys(Path(settings.store.keys.removeprefix("local:")))
    assert first.key_service == service.id
    private = service.unwrap(first.wrapped, wrapping_context(PLACE, first.fingerprint))
    assert private not in first.wrapped
    key = sealing.PrivateKey.from_bytes(private)
    assert key.public_key().to_bytes() == first.public_key and key.fingerprint == first.fingerprint


def test_nothing_of_the_private_key_comes_out(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """I1: all that the process says, on both streams, holds no window of the private key, raw or in hex."""
    said: list[subprocess.CompletedProcess[str]] = []
    real = subprocess.run

    def run(*arguments: object, **more: object) -> "subprocess.CompletedProcess[str]":
        said.append(real(*arguments, **more))
        return said[-1]

    monkeypatch.setattr(creation.subprocess, "run", run)
    pair = birth(settings)(PLACE, 1)
    service = LocalKeys(Path(settings.store.keys.removeprefix("local:")))
    private = service.unwrap(pair.wrapped, wrapping_context(PLACE, pair.fingerprint))
    (ended,) = said
    assert ended.stderr == "" and set(json.loads(ended.stdout)) == {
        "public_key",
        "fingerprint",
        "generation",
        "key_service",
        "wrapped",
    }
    raw = bytes.fromhex("".join(value for value in json.loads(ended.stdout).values() if is_hex(value)))
    for start in range(len(private) - 8):
        assert private[start : start + 8] not in raw
        assert private[start : start + 8].hex() not in ended.stdout
    assert not any(str(word).startswith(("p1", "e1", "shop")) for word in ended.args), "argv can be read by every user"


def is_hex(value: object) -> bool:
    return isinstance(value, str) and not set(value) - set("0123456789abcdef")


def test_the_process_inherits_nothing_of_ours(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """I3: an empty environment, and neither PYTHONPATH nor the current folder says what it imports."""
    monkeypatch.setenv("PYTHONPATH", "/nonsense")
    monkeypatch.chdir(settings.store.home)
    (settings.store.home / "json.py").write_text("raise SystemExit('taken over')")
    seen: dict[str, object] = {}
    real = subprocess.run
    monkeypatch.setattr(creation.subprocess, "run", lambda *given, **more: seen.update(more) or real(*given, **more))
    assert birth(settings)(PLACE, 1).public_key
    assert seen["env"] == {}


def test_an_error_is_the_key_services_own_sentence(settings: Settings) -> None:
    """With its hint; whatever else goes wrong is told by the exit status alone."""
    Path(settings.store.keys.removeprefix("local:")).unlink()
    with pytest.raises(KeyOperationFailed) as caught:
        birth(settings)(PLACE, 1)
    assert settings.store.keys.removeprefix("local:") in str(caught.value)


def test_a_process_that_says_nothing_or_hangs_is_an_error(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I10: no key pair, one sentence, and no output quoted."""
    silent, slow = tmp_path / "silent", tmp_path / "slow"
    silent.write_text("#!/bin/sh\necho hunter2\nexit 3\n")
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(creation, "_PATIENCE", 0.3)
    for program, said in ((silent, "status 3"), (slow, "0.3 seconds")):
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        with pytest.raises(KeyOperationFailed, match=said) as caught:
            birth(settings)(PLACE, 1)
        assert "hunter2" not in str(caught.value) and caught.value.__cause__ is None


def test_the_process_cannot_be_read_by_its_own_user(as_ordinary_user: OrdinaryUser) -> None:
    """I1: while the key is in it, /proc gives its memory to root alone, and it leaves no core file."""
    code = """
import os, subprocess, sys, time
sys.path[:0] = [sys.argv[1]]
from executor.keys import creation as key_birth
process = subprocess.Popen(
    [sys.executable, "-I", "-c", key_birth._CREATION, sys.argv[1]], stdin=subprocess.PIPE, env={}
)
until = time.monotonic() + 20
while time.monotonic() < until:
    try:
        open(f"/proc/{process.pid}/mem", "rb").close()
    except PermissionError:
        limits = open(f"/proc/{process.pid}/limits").read()
        core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        print("closed", core.split()[4:6])
        break
    time.sleep(0.01)
process.kill()
process.wait()
"""
    ended = as_ordinary_user(code, ROOT)
    assert (ended.stdout, ended.stderr) == ("closed ['0', '0']\n", "")
