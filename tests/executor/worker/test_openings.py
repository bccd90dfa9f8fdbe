"""What a worker can open: known without reading a key file, and left to others for a while after a refusal."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.boundary.supervision import Zygote
from executor.schemas.workers import Refusal
from executor.settings import read_settings
from executor.worker import openings
from executor.worker.openings import Openings
from secretstore.key_files import create_local_key
from secretstore.key_service import KeyAccess
from secretstore.local_keys import LocalKeys
from secretstore.settings import StoreSettings

KMS = "aws-kms:arn:aws:kms:eu-north-1:123456789012:key/1234abcd"
TOLD = Refusal("shop/default", "AWS denies it")


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    started = Zygote()
    started.start()
    yield started
    started.stop()


def store(tmp_path: Path, keys: str) -> StoreSettings:
    return read_settings({"SEALRUN_HOME": str(tmp_path / "home"), "SEALRUN_KEYS": keys}).store


def test_key_files_are_told_as_they_come_and_go(zygote: Zygote, tmp_path: Path) -> None:
    """I1: another process reads them, and only where something has changed; one that cannot be read may be any."""
    file, asked = tmp_path / "keys" / "local.key", []
    settings = store(tmp_path, f"{KMS},local:{file}")

    def ask() -> tuple[str, ...] | None:
        asked.append(settings.keys)
        return zygote.offered(KeyAccess(settings.keys))

    can = Openings(settings, ask)
    kms = ("aws-kms:*:key/1234abcd", "aws-kms:1234abcd")
    assert can.key_services == (*kms, "local:*")
    create_local_key(file)
    first = LocalKeys(file).id
    assert can.key_services == can.key_services == (*kms, first)
    file.rename(tmp_path / "keys" / "first.key")
    file.with_suffix(".pub").unlink()
    create_local_key(file)
    second = LocalKeys(file).id
    assert first != second and can.key_services == (*kms, second)
    file.chmod(0o644)
    assert can.key_services == (*kms, "local:*")
    file.chmod(0o600)
    file.parent.chmod(0o777)
    assert can.key_services == (*kms, "local:*")
    file.parent.chmod(0o700)
    assert can.key_services == (*kms, second)
    assert len(asked) == 6


def test_without_an_answer_what_is_known_stands(tmp_path: Path) -> None:
    """And it is asked again: a claim that goes too far is refused by the key service itself."""
    answers: list[tuple[str, ...] | None] = [None, ("local:a",)]
    can = Openings(store(tmp_path, f"local:{tmp_path}/local.key"), lambda: answers.pop(0))
    assert [can.key_services, can.key_services, can.key_services] == [("*",), ("local:a",), ("local:a",)]


@pytest.mark.parametrize(("code", "seconds"), [("kms_access_denied", 300), ("kms_unavailable", 30)])
def test_an_environment_is_left_to_others_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, seconds: float
) -> None:
    """Minutes for what people have to mend, less for what passes by itself."""
    now = [1000.0]
    monkeypatch.setattr(openings.time, "monotonic", lambda: now[0])
    can = Openings(store(tmp_path, KMS), lambda: None)
    assert can.leave("e1", TOLD, code) == seconds
    can.leave("e2", TOLD, code)
    assert can.refused == {"e1": TOLD, "e2": TOLD}
    can.try_again("e2")
    now[0] += seconds - 1
    assert can.refused == {"e1": TOLD}
    now[0] += 1
    assert can.refused == {}
