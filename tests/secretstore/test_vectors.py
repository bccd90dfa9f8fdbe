"""What tests/vectors holds opens: `make.py` there says when it may be made anew."""

import json
import os
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from secretstore.local_keys import LocalKeys
from secretstore.sealing import Binding, PrivateKey, PublicKey, fingerprint, header, open_

VECTORS = Path(__file__).parents[1] / "vectors"
SEALED = json.loads((VECTORS / "sealed-1.json").read_text())


@pytest.mark.parametrize("vector", SEALED["values"], ids=lambda vector: vector["title"])
def test_a_sealed_vector_opens(vector: dict[str, Any]) -> None:
    """Each sealed value opens with its raw key, and its header says what it is."""
    key = SEALED["keys"][vector["key"]]
    sealed = b64decode(vector["sealed"])
    private = PrivateKey.from_bytes(b64decode(key["private"]))
    assert open_(private, sealed, Binding(**vector["binding"])) == b64decode(vector["value"])
    found = header(sealed)
    assert (found.format, found.suite) == (1, 1)
    assert (found.generation, found.fingerprint) == (vector["generation"], key["fingerprint"])


@pytest.mark.parametrize("key", SEALED["keys"], ids=lambda key: key["fingerprint"][:8])
def test_a_key_vector_keeps_its_forms(key: dict[str, str]) -> None:
    """Raw keys are read and written byte for byte, and have the fingerprint they had."""
    private = PrivateKey.from_bytes(b64decode(key["private"]))
    assert private.to_bytes() == b64decode(key["private"])
    public = PublicKey.from_bytes(b64decode(key["public"]))
    assert public.to_bytes() == private.public_key().to_bytes() == b64decode(key["public"])
    assert fingerprint(public) == private.fingerprint == key["fingerprint"]


def test_a_wrapped_vector_unwraps(tmp_path: Path) -> None:
    """A private key wrapped under a public file unwraps with its key file."""
    vector = json.loads((VECTORS / "local-wrap-1.json").read_text())
    file = tmp_path / "local.key"
    os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
    file.write_text(vector["file"])
    keys = LocalKeys(file)
    file.with_suffix(".pub").write_text(vector["public_file"])
    assert keys.id == keys.opening_id == vector["id"]
    assert keys.unwrap(b64decode(vector["wrapped"]), vector["context"]) == b64decode(vector["private"])
