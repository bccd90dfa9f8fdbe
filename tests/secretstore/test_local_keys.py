"""The local key: a file that wraps and one that unwraps, made once, safely, and refused when others could use them."""

import os
from pathlib import Path
from threading import Barrier, Thread

import pytest

from secretstore.errors import (
    AlreadyExists,
    KeyFileMissing,
    KeyFileUnusable,
    KeyServiceMissing,
    PublicHalfOnly,
    WrapBroken,
    of_key_service,
)
from secretstore.key_files import create_local_key
from secretstore.key_service import KeyAccess, KeyPlace
from secretstore.keyring import generate_wrapped, offered, wrapping, wrapping_context
from secretstore.local_keys import LocalKeys
from secretstore.reveal import Resealer
from secretstore.sealing import PrivateKey
from secretstore.unwrapping import unwrapping

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
    """Every part counts; the bytes that name the key file make it another file's."""
    wrapped = keys.wrap(PRIVATE, CONTEXT)
    for index in (*range(40), *range(40, len(wrapped), 29), len(wrapped) - 1):
        altered = bytearray(wrapped)
        altered[index] ^= 1
        with pytest.raises(KeyFileUnusable if 1 <= index < 9 else WrapBroken, match="wrapped"):
            keys.unwrap(bytes(altered), CONTEXT)
    for size in (*range(40), 1128, 1129, len(wrapped) - 1):
        with pytest.raises(WrapBroken):
            keys.unwrap(wrapped[:size], CONTEXT)


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_i9_the_public_half_wraps_and_opens_nothing(keys: LocalKeys, key_file: Path, tmp_path: Path) -> None:
    """Where it is alone, and beside its key file: the setting says which is meant, not what can be read."""
    (tmp_path / "server").mkdir(mode=0o755)
    alone = tmp_path / "server" / "local.pub"
    alone.write_bytes(keys.public_path.read_bytes())
    alone.chmod(0o644)
    for path in (alone, keys.public_path):
        public = LocalKeys(path)
        wrapped = public.wrap(PRIVATE, CONTEXT)
        assert public.id == keys.id and keys.unwrap(wrapped, CONTEXT) == PRIVATE
        assert not public.may_unwrap and offered(KeyAccess(f"local:{path}"), unread="local:*") == ()
        with pytest.raises(PublicHalfOnly, match="it wraps private keys, and unwraps none") as refusal:
            public.unwrap(wrapped, CONTEXT)
        assert str(path) in str(refusal.value) and "key file" in str(refusal.value.hint)
    assert of_key_service(PublicHalfOnly.code), "another worker may open it"


def test_wrapping_reads_no_secret(keys: LocalKeys, key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key file beside it, which this user could not even read, the public file is enough."""
    opened: list[str] = []
    real = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *more, **named: opened.append(os.fspath(path)) or real(path, *more, **named)
    )
    wrapped = keys.wrap(PRIVATE, CONTEXT)
    assert key_file.name not in opened and "local.pub" in opened
    monkeypatch.undo()
    assert keys.unwrap(wrapped, CONTEXT) == PRIVATE


def test_a_key_pair_is_made_with_what_only_wraps(keys: LocalKeys, key_file: Path) -> None:
    """Somebody who has the key file opens what somebody who has the public file made."""
    place = KeyPlace("shop", "p1", "staging", "e1")
    pair = generate_wrapped(LocalKeys(keys.public_path), place, 1)
    assert pair.key_service == keys.id
    private = unwrapping(KeyAccess(f"local:{key_file}"), pair.key_service).unwrap(
        pair.wrapped, wrapping_context(place, pair.fingerprint)
    )
    assert PrivateKey.from_bytes(private).public_key().to_bytes() == pair.public_key


def test_a_key_file_alone_does_both(keys: LocalKeys) -> None:
    """A worker that was handed the key file wraps a rotation's new key pair, too."""
    before = keys.id
    keys.public_path.unlink()
    assert keys.id == keys.opening_id == before
    assert keys.unwrap(keys.wrap(PRIVATE, CONTEXT), CONTEXT) == PRIVATE


def test_a_key_file_that_is_gone_is_not_wrapped_for(keys: LocalKeys, key_file: Path) -> None:
    """I9: its public half is still there, and what it wrapped now nobody could open."""
    key_file.unlink()
    with pytest.raises(KeyFileMissing, match=str(key_file)):
        keys.wrap(PRIVATE, CONTEXT)


def test_a_public_half_of_another_key_is_noticed_before_it_matters(
    keys: LocalKeys, key_file: Path, tmp_path: Path
) -> None:
    """What is about to replace a wrapping is opened first, where the key file is: I9."""
    create_local_key(tmp_path / "other" / "local.key")
    keys.public_path.write_bytes((tmp_path / "other" / "local.pub").read_bytes())
    place = KeyPlace("shop", "p1", "staging", "e1")
    current = generate_wrapped(LocalKeys(tmp_path / "other" / "local.key"), place, 1)
    with pytest.raises(KeyFileUnusable, match="was wrapped under key"):
        Resealer(LocalKeys(tmp_path / "other" / "local.key"), keys, place, current)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o620])
def test_a_public_file_that_others_can_change_is_refused(keys: LocalKeys, mode: int) -> None:
    """Who changes it has the next environment's key wrapped for themselves; reading it gives nothing."""
    for path in (keys.path, keys.public_path):
        service = LocalKeys(path)
        keys.public_path.chmod(0o444)
        assert service.wrap(PRIVATE, CONTEXT)
        keys.public_path.chmod(mode)
        with pytest.raises(KeyFileUnusable, match="can change it; chmod 644 it"):
            service.wrap(PRIVATE, CONTEXT)


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
    assert path.with_suffix(".pub").stat().st_mode & 0o777 == 0o644
    assert names_in(path.parent) == ["local.key", "local.pub"]
    comment, key = path.read_text().splitlines()
    assert "without it nobody" in comment and key.startswith("sealrun-local-private-1:")
    comment, key = path.with_suffix(".pub").read_text().splitlines()
    assert "opens nothing" in comment and key.startswith("sealrun-local-public-1:")


def test_a_key_file_is_never_overwritten(key_file: Path) -> None:
    """Making one where there is one fails and leaves it as it was, with nothing beside it."""
    before = {name: (key_file.parent / name).read_bytes() for name in ("local.key", "local.pub")}
    for there in (["local.key", "local.pub"], ["local.pub"], []):
        for gone in set(names_in(key_file.parent)) - set(there):
            (key_file.parent / gone).unlink()
        if there:
            with pytest.raises(AlreadyExists):
                create_local_key(key_file)
        assert {name: (key_file.parent / name).read_bytes() for name in names_in(key_file.parent)} == {
            name: before[name] for name in there
        }
    create_local_key(key_file)
    assert LocalKeys(key_file).id == LocalKeys(key_file).opening_id
    with pytest.raises(KeyFileUnusable, match="is its public half's"):
        create_local_key(key_file.with_name("second.pub"))


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
    assert LocalKeys(path).id == LocalKeys(path).opening_id
    assert names_in(path.parent) == ["local.key", "local.pub"]


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
    wrapped = keys.wrap(PRIVATE, CONTEXT)
    key_file.chmod(mode)
    with pytest.raises(KeyFileUnusable, match="users other than its owner"):
        keys.unwrap(wrapped, CONTEXT)


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
    wrapped = LocalKeys(key_file).wrap(PRIVATE, CONTEXT)
    for suffix in (".key", ".pub"):
        link = key_file.with_name(f"link{suffix}")
        link.symlink_to(key_file.with_suffix(suffix))
        with pytest.raises(KeyFileUnusable, match="symbolic link"):
            LocalKeys(link).wrap(b"", {}) if suffix == ".pub" else LocalKeys(link).unwrap(wrapped, CONTEXT)


def test_a_pipe_is_refused_and_does_not_hang(key_file: Path) -> None:
    """What is no regular file is refused without waiting for it."""
    wrapped = LocalKeys(key_file).wrap(PRIVATE, CONTEXT)
    for name in ("pipe.key", "pipe.pub"):
        pipe = key_file.with_name(name)
        os.mkfifo(pipe, 0o600)
        with pytest.raises(KeyFileUnusable, match="regular file"):
            LocalKeys(pipe).wrap(b"", {}) if name == "pipe.pub" else LocalKeys(pipe).unwrap(wrapped, CONTEXT)
        pipe.unlink()


def test_a_file_of_another_user_is_refused(keys: LocalKeys, key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and its folder belong to this user, or to root."""
    owner, wrapped = os.geteuid(), keys.wrap(PRIVATE, CONTEXT)
    if owner == 0:
        owner = 65534
        for file in (key_file, keys.public_path):
            os.chown(file, owner, -1)
            with pytest.raises(KeyFileUnusable, match="it belongs to another user"):
                keys.unwrap(wrapped, CONTEXT) if file == key_file else keys.wrap(PRIVATE, CONTEXT)
        os.chown(key_file.parent, owner, -1)
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(KeyFileUnusable, match="folder belongs to another user"):
        keys.wrap(PRIVATE, CONTEXT)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# comment only\n",
        "sealrun-local-private-1:\n",
        "sealrun-local-private-1:AAAA\n",
        f"sealrun-local-private-2:{KEY}\n",
        f"sealrun-local-key-1:{KEY}\n",
        f"sealrun-local-private-1:{KEY}\n" * 2,
        f"sealrun-local-private-1:!{KEY}\n",
        "\xff\xfe",
        "x" * 9999,
    ],
)
def test_a_file_of_another_form_is_refused(keys: LocalKeys, key_file: Path, content: str) -> None:
    """A file that is no key file of this version is named as such, and not quoted."""
    wrapped = keys.wrap(PRIVATE, CONTEXT)
    key_file.write_text(content, encoding="latin-1")
    with pytest.raises(KeyFileUnusable, match="is not a sealrun key file") as refusal:
        keys.unwrap(wrapped, CONTEXT)
    assert "AAAA" not in str(refusal.value)
    keys.public_path.write_text(content.replace("private", "public"), encoding="latin-1")
    with pytest.raises(KeyFileUnusable, match="is not the public half of a sealrun key file") as refusal:
        keys.wrap(PRIVATE, CONTEXT)
    assert "AAAA" not in str(refusal.value)


def test_a_key_service_is_found_by_its_setting(key_file: Path) -> None:
    """`local:PATH` is one; what is none, or says too little, is told without quoting it."""
    access = KeyAccess(f"local:{key_file}")
    service = wrapping(access)
    assert unwrapping(access, service.id).unwrap(service.wrap(PRIVATE, CONTEXT), CONTEXT) == PRIVATE
    for spec in ("", "local", "local:", "hunter2", "aws-kms:alias/hunter2", "aws-kms:k?region=r&hunter2=1"):
        with pytest.raises(KeyServiceMissing) as refusal:
            wrapping(KeyAccess(spec))
        assert "hunter2" not in str(refusal.value)
