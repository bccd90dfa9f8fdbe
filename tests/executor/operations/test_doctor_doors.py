"""What is said of signed plans: by `doctor` and, at its start, by `serve`."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from executor.boundary.plans import SigningKey
from executor.operations import doctor
from executor.operations.deployment import Deployment
from executor.runs import Offer, workers
from executor.settings import read_settings
from tests.executor.operations.conftest import WHO


@pytest.fixture
def key() -> SigningKey:
    return SigningKey(Ed25519PrivateKey.generate())


def signing(at: Deployment, key: SigningKey | None) -> None:
    vars(at)["signing_key"] = key


def appear(at: Deployment, name: str, *signers: SigningKey) -> None:
    ids = tuple(one.signer.id for one in signers)
    workers.appear(at.db, Offer(name, "here", ("sealrun",), "namespace", signers=ids), 1, 1)


def told(at: Deployment) -> tuple[str, str]:
    found = doctor.doors(at, WHO)
    return found.status, found.text


def test_without_a_key(at: Deployment, key: SigningKey) -> None:
    """Whether a live worker refuses what is accepted here, and that nobody knows where none lives."""
    assert told(at) == ("ok", "nothing is signed here; no worker lives, so it is not known whether one insists")
    appear(at, "w1")
    assert told(at) == ("ok", "nothing is signed here; no live worker insists on it")
    appear(at, "w2", key)
    status, text = told(at)
    assert status == "note" and "the worker w2 takes nothing else: it refuses what is submitted here" in text


def test_with_a_key(at: Deployment, key: SigningKey) -> None:
    """What workers need is said whole; and who takes other keys alone, or what is not signed."""
    signing(at, key)
    assert told(at) == (
        "ok",
        f"what is accepted here is signed, for workers with SEALRUN_DOORS=api SEALRUN_SIGNERS={key.signer}",
    )
    appear(at, "w1", key)
    assert told(at)[0] == "ok"
    appear(at, "w2")
    assert told(at)[0] == "note" and "the worker w2 takes what is not signed, too" in told(at)[1]
    appear(at, "w3", SigningKey(Ed25519PrivateKey.generate()))
    assert told(at)[0] == "note" and "the worker w3 insists on other keys, and refuses it" in told(at)[1]


def test_with_a_key_that_cannot_be_read(at: Deployment) -> None:
    environ = {"SEALRUN_HOME": str(at.settings.store.home), "SEALRUN_SIGNING_KEY": "/nowhere/signing.pem"}
    other = Deployment(read_settings(environ), at.db)
    assert told(other) == ("wrong", "there is no signing key at /nowhere/signing.pem")


def test_on_a_worker_s_machine(at: Deployment, key: SigningKey) -> None:
    """What one that is started there would take."""
    environ = {"SEALRUN_HOME": str(at.settings.store.home), "SEALRUN_DOORS": "api", "SEALRUN_SIGNERS": str(key.signer)}
    other = Deployment(read_settings(environ), at.db)
    assert told(other)[1].endswith(f"takes what {key.signer.id} has signed, and nothing else")
