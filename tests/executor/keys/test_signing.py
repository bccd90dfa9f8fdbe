"""The file of a server's signing key."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from executor.boundary import plans
from executor.boundary.plans import RUN, Signer
from executor.errors import PlanRefused
from executor.keys.signing import create_signing_key, read_signing_key
from secretstore.errors import AlreadyExists, KeyFileMissing, KeyFileUnusable


def test_what_it_signs_is_known_by_what_was_printed(tmp_path: Path) -> None:
    """Its owner's alone; its public half is in words in the file, so that it can be had again."""
    path = tmp_path / "server" / "signing.pem"
    told = str(create_signing_key(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and told in path.read_text().splitlines()[0]
    signed = read_signing_key(path).sign(RUN, "{}")
    assert plans.verify([Signer.parse(told)], RUN, "{}", signed) == {}
    with pytest.raises(PlanRefused):
        plans.verify([Signer.parse(told)], RUN, "[]", signed)


def test_one_that_is_there_stays(tmp_path: Path) -> None:
    """A second one has another path: runs that wait were signed with the first."""
    path = tmp_path / "signing.pem"
    before = create_signing_key(path)
    with pytest.raises(AlreadyExists):
        create_signing_key(path)
    assert read_signing_key(path).signer == before


def test_what_is_no_key_of_this_user_alone_signs_nothing(tmp_path: Path) -> None:
    """I10: with a sentence that quotes nothing of it."""
    path, link, other = tmp_path / "signing.pem", tmp_path / "link.pem", tmp_path / "other.pem"
    create_signing_key(path)
    link.symlink_to(path)
    with pytest.raises(KeyFileMissing, match="no signing key"):
        read_signing_key(tmp_path / "none.pem")
    with pytest.raises(KeyFileUnusable):
        read_signing_key(link)
    with pytest.raises(KeyFileUnusable, match="no regular file"):
        read_signing_key(tmp_path)
    path.chmod(0o640)
    with pytest.raises(KeyFileUnusable, match="chmod 600"):
        read_signing_key(path)
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    for raw in (b"", b"hunter2", generate_private_key(SECP256R1()).private_bytes(*pem)):
        other.write_bytes(raw)
        other.chmod(0o600)
        with pytest.raises(KeyFileUnusable, match="is not a signing key") as caught:
            read_signing_key(other)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(KeyFileUnusable, match="cannot be made"):
        create_signing_key(Path(os.devnull) / "signing.pem")
