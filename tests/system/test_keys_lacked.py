"""Workers of which some lack a key: their runs are the others', through real processes and a KMS that denies."""

import contextlib
from collections.abc import Iterator

import pytest

from executor.python.requirements import with_packages
from secretstore import audit, audit_reading, keyring, vault
from secretstore.key_files import create_local_key
from secretstore.key_service import Credentials, KeyAccess, KeyPlace, WrappedKeyPair
from tests import kms
from tests.kms import ACCESS_KEY, ENVIRONMENT, SECRET_KEY, TOKEN, KmsProxy
from tests.processes import eventually
from tests.rig import ACTOR, PATIENCE, Ended, Rig, file, rig

DENIED_KEY = "AKIADENIEDDENIEDDENI"
PRINT = "import os; print(len(os.environ['API_KEY']))"
BUSY = """
import os, pathlib, time
print("pid", os.getpid(), flush=True)
go = pathlib.Path(os.environ["TMPDIR"], "go")
until = time.monotonic() + 120
while not go.exists() and time.monotonic() < until:
    time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def proxy() -> Iterator[KmsProxy]:
    """moto's KMS behind the proxy, which denies one access key everything."""
    with kms.moto_server() as moto, kms.kms_proxy(moto) as made:
        made.denied.add(DENIED_KEY)
        yield made


@pytest.fixture(scope="module")
def crew(proxy: KmsProxy) -> Iterator[Rig]:
    """Two workers: w0 is denied by KMS, w1 has one slot, which runs of a queue of its own can keep busy."""
    keys = kms.spec(kms.make_key(proxy.url), proxy.url)
    with rig(settings={"SEALRUN_KEYS": keys}) as made:
        made.keep_broker()
        for name in ("shop", "setup", "all"):
            project(made, name, keys)
        made.start_worker(environ={**ENVIRONMENT, "AWS_ACCESS_KEY_ID": DENIED_KEY})
        made.start_worker("-Q", f"{made.queue},busy", "-l", "INFO", environ=ENVIRONMENT, slots=1)
        yield made


def project(made: Rig, name: str, keys: str) -> None:
    """A project with a secret, its private key wrapped by this key service."""
    service = keyring.wrapping(KeyAccess(keys, credentials=Credentials(ACCESS_KEY, SECRET_KEY, TOKEN)))

    def birth(place: KeyPlace, generation: int) -> WrappedKeyPair:
        return keyring.generate_wrapped(service, place, generation)

    vault.create_project(made.db, name, actor=ACTOR, birth=birth)
    vault.put(made.db, name, "default", "API_KEY", b"hunter2-prod-key-5417", actor=ACTOR, pins=made.pins)


@contextlib.contextmanager
def busy(made: Rig) -> Iterator[None]:
    """The second worker has a run that lasts as long as the context."""
    run_id = made.submit(file(made.job(BUSY)), queue="busy", secret_names=[])
    made.pids(run_id, 1)
    try:
        yield
    finally:
        made.let_go(run_id)


def waits(made: Rig, **asked: object) -> str:
    """A run that wants the secret."""
    return made.submit(file(made.job(PRINT)), **asked)


def by(ended: Ended) -> list[tuple[str, str]]:
    """Which worker had each attempt, and how it ended."""
    return [(attempt.worker.partition("@")[0], attempt.state) for attempt in ended.view.attempts]


@pytest.mark.long
def test_what_one_worker_may_not_open_another_does(crew: Rig, proxy: KmsProxy) -> None:
    """I4, I7: given back unopened, its receipt refused; the worker leaves the environment alone, but not its runs that
    open nothing.
    """
    proxy.forget()
    with busy(crew):
        first = waits(crew)
        eventually(lambda: [one.state for one in crew.attempts(first)] == ["refused"], PATIENCE, "it is given back")
        view = crew.view(first)
        assert (view.state, view.started_at, view.waiting_for) == ("pending", None, None)
        free = crew.python_run("print(1)", secret_names=[])
        assert by(free) == [("w0", "succeeded")]
    ended = crew.ended(first)
    assert (ended.stdout, by(ended)) == ("21\n", [("w0", "refused"), ("w1", "succeeded")])
    refused, opened = (attempt.receipts[0] for attempt in ended.view.attempts)
    assert (refused.status, refused.opened_at, opened.status) == ("refused", None, "closed")
    assert str(refused.reason).startswith("AWS denies kms:Decrypt with the key arn:")
    assert [call.signed_by for call in proxy.calls] == [DENIED_KEY, ACCESS_KEY], "one call for each opening"
    audit.link_waiting(crew.db)
    events = [one for one in audit_reading.list_events(crew.db, "shop") if first in one.detail]
    assert [(one.action, one.outcome) for one in events] == [
        ("secrets.open", "begun"), ("secrets.close", "failed"), ("secrets.open", "begun"), ("secrets.close", "done"),
    ]  # fmt: skip
    assert crew.workers[0].said().count("the secrets of shop/default are left to other workers for 300 seconds") == 1


@pytest.mark.long
def test_where_all_are_refused_the_run_says_what_each_was_told(crew: Rig, proxy: KmsProxy) -> None:
    """I7, I10: once for each worker; and the next one finds out that somebody has mended it."""
    proxy.denied = {ACCESS_KEY, DENIED_KEY}
    try:
        proxy.forget()
        ended = crew.python_run(PRINT, project="all")
        assert {call.signed_by for call in proxy.calls} == proxy.denied and len(proxy.calls) == 2
        message = str(ended.view.message)
        assert ended.how == ("failed", "secrets_unavailable", None) and "canary" not in message
        assert [how for _, how in by(ended)] == ["refused", "failed"]
        assert message.startswith("no worker's key service opens its secrets: w")
        assert message.count("AWS denies kms:Decrypt with the key arn:") == 2
        assert "w0@" in message and "w1@" in message
        again = crew.python_run(PRINT, project="all")
        assert ([how for _, how in by(again)], len(proxy.calls)) == (["failed"], 3), "one that is left finds out"
    finally:
        proxy.denied = set()
    try:
        assert crew.python_run(PRINT, project="all").stdout == "21\n"
    finally:
        proxy.denied = {DENIED_KEY}


@pytest.mark.long
def test_secrets_of_an_installer_are_handed_on_alike(crew: Rig, proxy: KmsProxy) -> None:
    """I4, I7: nothing was installed by the one that may not open them; a call for each phase that opens."""
    proxy.forget()
    with busy(crew):
        asked = {"python": None, "requirements": with_packages(None, ()), "setup_secret_names": ["API_KEY"]}
        run_id = crew.submit(file(crew.job("print(1)")), project="setup", secret_names=[], **asked)
        eventually(lambda: [one.state for one in crew.attempts(run_id)] == ["refused"], PATIENCE, "it is given back")
        assert [one.status for one in crew.view(run_id).attempts[0].receipts] == ["refused"]
    ended = crew.ended(run_id)
    assert (ended.stdout, by(ended)) == ("1\n", [("w0", "refused"), ("w1", "succeeded")])
    assert [call.signed_by for call in proxy.calls] == [DENIED_KEY, ACCESS_KEY]


@pytest.mark.long
def test_a_run_waits_for_a_worker_with_its_key_service(crew: Rig, proxy: KmsProxy) -> None:
    """I7: with KMS alone nobody takes what a key file has sealed, nor who has that alone what KMS has."""
    key_file, other = crew.folder / "keys" / "local.key", crew.folder / "keys" / "other.key"
    for path in (key_file, other):
        create_local_key(path)
    project(crew, "files", f"local:{key_file}")
    late = crew.ended(waits(crew, project="files"))
    assert late.how == ("failed", "no_capable_worker", None), (
        "where all workers are on one machine nobody waits for another"
    )
    assert "no worker has the key service local:" in str(late.view.message) and late.view.attempt == 0
    crew.start_worker(environ={"SEALRUN_KEYS": f"local:{other}"})
    crew.start_worker(environ={"SEALRUN_KEYS": f"local:{key_file}"})
    with busy(crew):
        denied = waits(crew)
        ended = crew.ended(waits(crew, project="files"))
        assert (ended.stdout, by(ended)) == ("21\n", [("w3", "succeeded")])
        assert crew.view(denied).state == "pending"
    assert by(crew.ended(denied)) == [("w1", "succeeded")]
