"""The local key file: made once, safely, and refused when others could use it."""

import os
from pathlib import Path
from threading import Barrier, Thread

import pytest

from secretstore.errors import AlreadyExists, KeyFileMissing, KeyFileUnusable, KeyServiceMissing, WrapBroken
from secretstore.key_service import KeyAccess
from secretstore.keyring import key_service
from secretstore.local_keys import LocalKeys, create_local_key

CONTEXT = {"sealrun:project": "a", "sealrun:environment": "b", "sealrun:fingerprint": "c"}
KEY = "A" * 43 + "="
PRIVATE = b"\x01" + b"private key" * 8


def test_a_wrapped_key_unwraps_in_its_context(keys: LocalKeys) -> None:
    """What was wrapped comes back, whatever the order of the context's entries."""
    wrapped = keys.wrap(PRIVATE, CONTEXT)
    assert PRIVATE not in wrapped
    assert keys.unwrap(wrapped, dict(reversed(CONTEXT.items()))) == PRIVATE


@pytest.mark.parametrize("entry", CONTEXT)
def test_i2_a_wrapped_key_is_bound_to_its_context(keys: LocalKeys, entry: str) -> None:
    """I2: copied to another project, environment or key pair, a wrapped key does not unwrap."""
    wrapped = keys.wrap(PRIVATE, CONTEXT)
    for elsewhere in (CONTEXT | {entry: "x"}, {k: v for k, v in CONTEXT.items() if k != entry}, {}):
        with pytest.raises(WrapBroken):
            keys.unwrap(wrapped, elsewhere)


def test_an_altered_wrapped_key_does_not_unwrap(keys: LocalKeys) -> None:
    """Every byte counts; the bytes that name the key file make it another file's."""
    wrapped = keys.wrap(PRIVATE, CONTEXT)
    for index in range(len(wrapped)):
        altered = bytearray(wrapped)
        altered[index] ^= 1
        with pytest.raises(KeyFileUnusable if 1 <= index < 9 else WrapBroken, match="wrapped"):
            keys.unwrap(bytes(altered), CONTEXT)
    for size in range(len(wrapped)):
        with pytest.raises(WrapBroken):
            keys.unwrap(wrapped[:size], CONTEXT)


def test_a_wrong_key_file_is_named(keys: LocalKeys, tmp_path: Path) -> None:
    """Another key file says which key it is and which is wanted, instead of failing obscurely."""
    create_local_key(tmp_path / "other" / "local.key")
    other = LocalKeys(tmp_path / "other" / "local.key")
    with pytest.raises(KeyFileUnusable) as refusal:
        other.unwrap(keys.wrap(PRIVATE, CONTEXT), CONTEXT)
    assert keys.id.removeprefix("local:") in str(refusal.value)
    assert other.id.removeprefix("local:") in str(refusal.value)


def test_rewrapping_moves_a_key_to_another_file(keys: LocalKeys, tmp_path: Path) -> None:
    """After a rewrap the new key file unwraps the same private key, and the old one does not."""
    create_local_key(tmp_path / "new" / "local.key")
    new = LocalKeys(tmp_path / "new" / "local.key")
    rewrapped = keys.rewrap(keys.wrap(PRIVATE, CONTEXT), CONTEXT, new)
    assert new.unwrap(rewrapped, CONTEXT) == PRIVATE
    with pytest.raises(KeyFileUnusable, match="was wrapped under key"):
        keys.unwrap(rewrapped, CONTEXT)


def test_a_new_key_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """The file is 0600 in a folder of 0700, says what it is, and nothing else is left beside it."""
    path = tmp_path / "keys" / "local.key"
    before = os.umask(0)
    try:
        create_local_key(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["local.key"]
    comment, key = path.read_text().splitlines()
    assert "without it nobody" in comment
    assert key.startswith("sealrun-local-key-1:")


def test_a_key_file_is_never_overwritten(key_file: Path) -> None:
    """Making one where there is one fails and leaves it as it was, with nothing beside it."""
    before = key_file.read_bytes()
    with pytest.raises(AlreadyExists):
        create_local_key(key_file)
    assert key_file.read_bytes() == before
    assert [entry.name for entry in key_file.parent.iterdir()] == ["local.key"]


def test_of_many_creators_one_wins(tmp_path: Path) -> None:
    """Created at the same moment from many threads, there is one key file, whole."""
    path, barrier, refused = tmp_path / "keys" / "local.key", Barrier(8), []

    def create() -> None:
        barrier.wait(10)
        try:
            create_local_key(path)
        except AlreadyExists as refusal:
            refused.append(refusal)

    threads = [Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(refused) == 7
    assert LocalKeys(path).id.startswith("local:")


def test_a_missing_file_is_said_with_a_hint(tmp_path: Path) -> None:
    """Without a file, or without its folder, the error names the path and says what helps."""
    for path in (tmp_path / "local.key", tmp_path / "nowhere" / "local.key"):
        with pytest.raises(KeyFileMissing) as refusal:
            LocalKeys(path).wrap(PRIVATE, CONTEXT)
        assert str(path) in str(refusal.value)
        assert refusal.value.hint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644])
def test_a_file_that_others_can_use_is_refused(keys: LocalKeys, key_file: Path, mode: int) -> None:
    """Any bit for group or others is one too many."""
    key_file.chmod(mode)
    with pytest.raises(KeyFileUnusable, match="users other than its owner"):
        keys.wrap(PRIVATE, CONTEXT)


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(keys: LocalKeys, key_file: Path, mode: int) -> None:
    """Who can write to the folder could put another key there; nor is one made in it."""
    key_file.parent.chmod(mode)
    with pytest.raises(KeyFileUnusable, match="write to its folder"):
        keys.wrap(PRIVATE, CONTEXT)
    with pytest.raises(KeyFileUnusable, match="write to its folder"):
        create_local_key(key_file.with_name("second.key"))


def test_a_link_is_refused(key_file: Path) -> None:
    """A symbolic link in the place of the key file is not followed."""
    link = key_file.with_name("link.key")
    link.symlink_to(key_file)
    with pytest.raises(KeyFileUnusable, match="symbolic link"):
        LocalKeys(link).wrap(PRIVATE, CONTEXT)


def test_a_pipe_is_refused_and_does_not_hang(key_file: Path) -> None:
    """What is no regular file is refused without waiting for it."""
    pipe = key_file.with_name("pipe.key")
    os.mkfifo(pipe, 0o600)
    with pytest.raises(KeyFileUnusable, match="regular file"):
        LocalKeys(pipe).wrap(PRIVATE, CONTEXT)


def test_a_file_of_another_user_is_refused(keys: LocalKeys, key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and its folder belong to this user, or to root."""
    owner = os.geteuid()
    if owner == 0:
        owner = 65534
        os.chown(key_file, owner, -1)
        with pytest.raises(KeyFileUnusable, match="it belongs to another user"):
            keys.wrap(PRIVATE, CONTEXT)
        os.chown(key_file.parent, owner, -1)
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(KeyFileUnusable, match="folder belongs to another user"):
        keys.wrap(PRIVATE, CONTEXT)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# comment only\n",
        "sealrun-local-key-1:\n",
        "sealrun-local-key-1:AAAA\n",
        f"sealrun-local-key-2:{KEY}\n",
        f"sealrun-local-key-1:{KEY}\n" * 2,
        f"sealrun-local-key-1:!{KEY}\n",
        "\xff\xfe",
        "x" * 9999,
    ],
)
def test_a_file_of_another_form_is_refused(keys: LocalKeys, key_file: Path, content: str) -> None:
    """A file that is no key file of this version is named as such, and not quoted."""
    key_file.write_text(content, encoding="latin-1")
    with pytest.raises(KeyFileUnusable) as refusal:
        keys.wrap(PRIVATE, CONTEXT)
    assert "AAAA" not in str(refusal.value)


def test_a_key_service_is_found_by_its_setting(key_file: Path) -> None:
    """`local:PATH` is one; what is none, or says too little, is told without quoting it."""
    service = key_service(KeyAccess(f"local:{key_file}"))
    assert service.unwrap(service.wrap(PRIVATE, CONTEXT), CONTEXT) == PRIVATE
    for spec in ("", "local", "local:", "hunter2", "aws-kms:alias/hunter2", "aws-kms:k?region=r&hunter2=1"):
        with pytest.raises(KeyServiceMissing) as refusal:
            key_service(KeyAccess(spec))
        assert "hunter2" not in str(refusal.value)
