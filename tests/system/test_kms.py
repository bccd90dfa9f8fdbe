"""Runs whose secrets are opened by AWS KMS, through a real worker, with a log of every KMS call."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlmodel import select

from secretstore import sealing, vault
from secretstore.key_files import create_local_key
from secretstore.models import KeyPair, Secret, SecretVersion, new_id
from tests import kms
from tests.kms import ENVIRONMENT, SECRET_KEY, TOKEN, KmsProxy
from tests.processes import children, descendants, environ, eventually, is_alive, name
from tests.rig import ACTOR, Rig, Worker, rig
from tests.server_process import serving

WAIT = 2
SECRET = b"hunter2-prod-key-5417"
PRINT = "import os; print(len(os.environ['API_KEY']))"
WAITING = """
import os, pathlib, time
print("pid", os.getpid(), flush=True)
go = pathlib.Path(os.environ["TMPDIR"], "go")
until = time.monotonic() + 60
while not go.exists() and time.monotonic() < until:
    time.sleep(0.01)
print(len(os.environ["API_KEY"]))
"""


@pytest.fixture(scope="module")
def proxy() -> Iterator[KmsProxy]:
    """moto's KMS behind the proxy with the log."""
    with kms.moto_server() as moto, kms.kms_proxy(moto) as made:
        yield made


@pytest.fixture(scope="module")
def line(proxy: KmsProxy) -> Iterator[Rig]:
    """A worker with KMS and nothing else as its key service, and the project `shop`."""
    arn = kms.make_key(proxy.url)
    settings = {"SEALRUN_KEYS": kms.spec(arn, proxy.url), "SEALRUN_KMS_TIMEOUT_SECONDS": str(WAIT)}
    with rig(settings=settings) as made:
        assert "created project shop" in sealrun(made, "project", "create", "shop")
        vault.put(made.db, "shop", "default", "API_KEY", SECRET, actor=ACTOR, pins=made.pins)
        made.start_worker(environ=ENVIRONMENT)
        yield made


def sealrun(made: Rig, *words: str, environ: Mapping[str, str] = ENVIRONMENT, stdin: str = "", code: int = 0) -> str:
    """What the command line says, on both streams."""
    ended = subprocess.run(
        [sys.executable, "-m", "executor.cli", *words],
        cwd=made.folder, env={**made.environ, "PYTHONPATH": str(made.tree), **environ},
        input=stdin, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == code, ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture
def shop(line: Rig, proxy: KmsProxy) -> Rig:
    """The same with an empty log and no fault."""
    proxy.fail()
    proxy.forget()
    return line


def template(worker: Worker) -> int:
    (found,) = [pid for pid in children(worker.zygote) if name(pid) == "sealrun-kms"]
    return found


def seal_at_once(made: Rig, place: vault.EnvironmentView, values: Mapping[str, bytes]) -> None:
    """What as many `vault.put` leave, in one transaction."""
    with made.db.writing() as session:
        pair = session.exec(select(KeyPair).where(KeyPair.environment_id == place.id)).one()
        public = sealing.PublicKey.from_bytes(pair.public_key)
        for key, value in values.items():
            given = {"project_id": place.project_id, "environment_id": place.id, "maskable": True}
            who = {"created_by": "tester", "updated_by": "tester"}
            secret = Secret(id=new_id(), name=key, current_version=1, last_version=1, **given, **who)
            session.add(secret)
            session.flush()
            binding = sealing.Binding(place.project_id, place.id, secret.id, key, 1)
            sealed = sealing.seal(public, pair.generation, value, binding)
            version = {"version": 1, "generation": pair.generation, "sealed": sealed, "maskable": True}
            session.add(SecretVersion(secret_id=secret.id, created_by="tester", **version))


# Calls --------------------------------------------------------------------------------------------


def test_i4_who_makes_environments_needs_encrypt_alone(shop: Rig, proxy: KmsProxy) -> None:
    """As AWS would refuse all else: projects, environments and values are made and stored, and nothing is opened."""
    proxy.allowed = {"Encrypt"}
    try:
        sealrun(shop, "project", "create", "wrapping", "-e", "staging")
        sealrun(shop, "secret", "set", "API_KEY", "-p", "wrapping", stdin=SECRET.decode())
        assert proxy.actions() == ["Encrypt", "Encrypt"]
        refused = sealrun(shop, "key", "rotate", "-p", "wrapping", code=1)
    finally:
        proxy.allowed = None
    assert "AWS denies kms:Decrypt" in refused
    assert [key.generation for key in vault.list_keys(shop.db, "wrapping")] == [1, 1]


def test_a_server_calls_encrypt_alone(shop: Rig, proxy: KmsProxy) -> None:
    """I4: it makes projects and environments with keys of their own, and tells what there is, with no other right."""
    proxy.allowed = {"Encrypt"}
    try:
        with serving(shop, **ENVIRONMENT) as server:
            for answer in (
                server.client.post("/projects", json={"name": "served", "environments": ["staging"]}),
                server.client.put("/projects/served/environments/prod", json={}),
                server.client.get("/projects/served/keys"),
            ):
                assert answer.status_code == 200, answer.text
    finally:
        proxy.allowed = None
    assert proxy.actions() == ["Encrypt", "Encrypt", "Encrypt"]
    assert {key.environment for key in vault.list_keys(shop.db, "served")} == {"default", "staging", "prod"}


@pytest.mark.long
def test_a_thousand_secrets_cost_one_decrypt(shop: Rig, proxy: KmsProxy) -> None:
    """I4: one call, with project, environment and fingerprint in the open for an IAM policy and for CloudTrail."""
    sealrun(shop, "project", "create", "big")
    assert proxy.actions() == ["Encrypt"]
    proxy.forget()
    place = vault.get_environment(shop.db, "big", "default")
    seal_at_once(shop, place, {f"NAME_{number}": b"a-value-%d" % number for number in range(1000)})
    assert proxy.actions() == [], "who seals does not call KMS"
    code = "import os; print(sum(os.environ[f'NAME_{n}'] == f'a-value-{n}' for n in range(1000)))"
    ended = shop.python_run(code, project="big")
    assert (ended.how, ended.stdout) == (("succeeded", None, 0), "1000\n")
    (call,) = proxy.calls
    assert call.action == "Decrypt"
    with shop.db.reading() as session:
        bundle = vault.sealed_bundle(session, place.id, ["NAME_1"])
    assert call.context == {
        "sealrun:project": "big",
        "sealrun:project-id": place.project_id,
        "sealrun:environment": "default",
        "sealrun:environment-id": place.id,
        "sealrun:fingerprint": bundle.fingerprint,
    }
    assert f"aws-kms:{call.key}" == bundle.key_service


def test_a_run_without_secrets_calls_nobody(shop: Rig, proxy: KmsProxy) -> None:
    """I4: also in a project that has some."""
    assert shop.python_run("print(1)", secret_names=[]).how == ("succeeded", None, 0)
    assert proxy.calls == []


@pytest.mark.long
def test_who_only_seals_needs_neither_kms_nor_credentials(shop: Rig, proxy: KmsProxy) -> None:
    """With a dead endpoint, and credentials at a server that never answers: nobody is called, and nothing waits."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(4)
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        dead = {
            "SEALRUN_KEYS": kms.spec("alias/any", address),
            "SEALRUN_KMS_TIMEOUT_SECONDS": "60",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{address}/credentials",
        }
        sealrun(shop, "secret", "set", "OTHER", "-p", "shop", environ=dead, stdin="some-other-value-1")
        assert "OTHER" in sealrun(shop, "secret", "list", "-p", "shop", environ=dead)
        assert "current" in sealrun(shop, "secret", "history", "OTHER", "-p", "shop", environ=dead)
        deaf.setblocking(False)
        with pytest.raises(BlockingIOError):
            deaf.accept()
    assert proxy.calls == []


@pytest.mark.long
def test_the_doctor_says_what_there_is_and_calls_nobody(shop: Rig, proxy: KmsProxy) -> None:
    """I10: the key, the wait and botocore's name of where credentials come from, never their values."""
    found = {one["what"]: one for one in json.loads(sealrun(shop, "doctor", "--json"))["findings"]}
    assert f"AWS KMS, {shop.settings.store.key_specs[0].place} in {kms.REGION}" in found["key service"]["text"]
    assert f"waits {WAIT} seconds at most" in found["key service"]["text"]
    assert found["credentials"]["text"] == "AWS credentials by botocore's provider env"
    assert "wrapped keys" not in found and not any(one["status"] == "wrong" for one in found.values())
    other = kms.spec("arn:aws:kms:eu-north-1:1:key/other", proxy.url)
    told = sealrun(shop, "doctor", environ={"AWS_EC2_METADATA_DISABLED": "true", "SEALRUN_KEYS": other}, code=1)
    assert "which SEALRUN_KEYS does not list" in told and "botocore's chain has no AWS credentials" in told
    assert proxy.calls == []


@pytest.mark.long
def test_a_project_without_credentials_is_not_made(shop: Rig, proxy: KmsProxy) -> None:
    """One sentence with its hint, and no project half made."""
    without = {"AWS_EC2_METADATA_DISABLED": "true"}
    told = sealrun(shop, "project", "create", "poor", environ=without, code=1)
    assert (
        "no AWS credentials were found for kms:Encrypt with the key arn:" in told and "hint: give the process" in told
    )
    assert "poor" not in {project.name for project in vault.list_projects(shop.db)} and proxy.calls == []


# Faults -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("AccessDeniedException", "AWS denies kms:Decrypt with the key arn:"),
        ("KMSInvalidStateException", "is pending deletion or in another unusable state"),
        ("ExpiredTokenException", "have expired"),
        ("dribble", f"did not answer kms:Decrypt with the key arn:aws:kms:{kms.REGION}"),
    ],
)
def test_a_fault_ends_the_run_with_its_reason_and_the_next_one_works(
    shop: Rig, proxy: KmsProxy, fault: str, sentence: str
) -> None:
    """I7: `secrets_unavailable` with the sentence and its hint; the child never started, and nothing of AWS's words."""
    with proxy.failing(fault):
        ended = shop.python_run(PRINT)
    assert ended.how == ("failed", "secrets_unavailable", None) and ended.stdout == ""
    assert sentence in str(ended.view.message) and "canary" not in str(ended.view.message)
    assert str(ended.view.message).endswith(")"), "the hint is in it"
    assert shop.python_run(PRINT).stdout == "21\n"


# Rotation and rewrapping --------------------------------------------------------------------------


@pytest.mark.long
def test_a_rotation_costs_one_decrypt_and_one_encrypt(shop: Rig, proxy: KmsProxy) -> None:
    """I4: whatever the number of versions; the next run costs one Decrypt again, under the new fingerprint."""
    sealrun(shop, "project", "create", "turning")
    for value in ("an-older-value-of-it", "hunter2-prod-key-5418"):
        sealrun(shop, "secret", "set", "API_KEY", "-p", "turning", stdin=value)
    proxy.forget()
    assert "has generation 2" in sealrun(shop, "key", "rotate", "-p", "turning")
    assert proxy.actions() == ["Decrypt", "Encrypt"]
    marks = [call.context["sealrun:fingerprint"] for call in proxy.calls]
    assert marks == [view.fingerprint for view in vault.list_keys(shop.db, "turning")]
    proxy.forget()
    assert shop.python_run(PRINT, project="turning").stdout == "21\n"
    assert [(call.action, call.context["sealrun:fingerprint"]) for call in proxy.calls] == [("Decrypt", marks[1])]


@pytest.mark.long
def test_a_rotation_that_kms_refuses_changes_nothing(shop: Rig, proxy: KmsProxy) -> None:
    """AWS's reason as everywhere, no pending key pair, and runs go on."""
    before = vault.list_keys(shop.db, "shop")
    with proxy.failing("AccessDeniedException"):
        said = sealrun(shop, "key", "rotate", "-p", "shop", code=1)
    assert "the key pair of shop/default was not rotated: AWS denies kms:Decrypt" in said
    assert vault.list_keys(shop.db, "shop") == before and shop.python_run(PRINT).stdout == f"{len(SECRET)}\n"


@pytest.mark.long
def test_keys_move_from_the_local_file_to_kms_and_on_to_another_key(shop: Rig, proxy: KmsProxy) -> None:
    """From a file: one Encrypt. From KMS to KMS: one ReEncrypt and no Decrypt, so the key is never in the clear."""
    first, second = (kms.spec(kms.make_key(proxy.url), proxy.url) for _ in range(2))
    file = f"local:{shop.home}/keys/local.key"
    create_local_key(Path(file.removeprefix("local:")))
    sealrun(shop, "project", "create", "moving", environ={**ENVIRONMENT, "SEALRUN_KEYS": file})
    sealrun(shop, "secret", "set", "API_KEY", "-p", "moving", stdin=SECRET.decode())
    before = vault.list_keys(shop.db, "moving")
    for keys, wanted in ((f"{first},{file}", ["Encrypt"]), (f"{second},{first}", ["ReEncrypt"]), (second, [])):
        proxy.forget()
        environ = {**ENVIRONMENT, "SEALRUN_KEYS": keys}
        said = sealrun(shop, "key", "rewrap", "-p", "moving", environ=environ)
        assert f"{len(wanted)} of 1 private keys wrapped anew" in said
        assert proxy.actions() == wanted
    (after,) = vault.list_keys(shop.db, "moving")
    assert (after.fingerprint, after.generation) == (before[0].fingerprint, 1)


# Who holds credentials ----------------------------------------------------------------------------


def test_no_process_has_credentials_in_its_environment(shop: Rig) -> None:
    """I1, I3: worker, zygote, template, supervisor and child, as root reads them in /proc while a run is going on."""
    (worker,) = shop.workers
    run = shop.submit({"kind": "file", "path": shop.job(WAITING), "argv": []})
    try:
        (child,) = shop.pids(run, 1)
        family = {name(pid) for pid in descendants(worker.pid)}
        assert {"sealrun-zygote", "sealrun-kms", "sealrun-superv"} <= family
        for pid in (worker.pid, *descendants(worker.pid)):
            raw = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
            for word in (SECRET_KEY, TOKEN, "AWS_SECRET"):
                assert word.encode() not in raw, name(pid)
        assert environ(worker.pid)["SEALRUN_HOME"] == str(shop.home), "the rest of its environment stays"
        assert not any(word.startswith("AWS_") for word in environ(child))
    finally:
        shop.let_go(run)
    assert shop.ended(run).stdout.endswith("21\n")


def test_the_template_is_clean_and_closed(shop: Rig) -> None:
    """I1: no environment, one thread, no connection, and none of the worker's descriptors."""
    (worker,) = shop.workers
    shop.python_run(PRINT)
    pid = template(worker)
    assert environ(pid) == {}
    status = Path(f"/proc/{pid}/status").read_text()
    assert "\nThreads:\t1\n" in status
    opened = [os.readlink(f"/proc/{pid}/fd/{fd}").partition(":")[0] for fd in os.listdir(f"/proc/{pid}/fd")]
    assert sorted(opened)[-1] == "socket" and opened.count("socket") == 1
    maps = {one: Path(f"/proc/{one}/maps").read_text() for one in (pid, worker.zygote)}
    assert "/_ssl." in maps[pid] and "/_ssl." not in maps[worker.zygote], "the zygote stays small"


# Ends ---------------------------------------------------------------------------------------------


def test_a_killed_template_is_replaced(shop: Rig, proxy: KmsProxy) -> None:
    """I7: the next run has a new one; I8: a run in flight, and an opener at work, go on."""
    (worker,) = shop.workers
    running = shop.submit({"kind": "file", "path": shop.job(WAITING), "argv": []})
    shop.pids(running, 1)
    with proxy.failing("slow"):
        proxy.forget()
        opening = shop.submit({"kind": "file", "path": shop.job(PRINT), "argv": []})
        eventually(lambda: proxy.calls, 20, "the opener does not call")
        first = template(worker)
        os.kill(first, signal.SIGKILL)
        assert shop.ended(opening).how == ("succeeded", None, 0)
    assert shop.python_run(PRINT).how == ("succeeded", None, 0)
    assert template(worker) != first and not is_alive(first)
    shop.let_go(running)
    assert shop.ended(running).stdout.endswith("21\n")


def test_openers_leave_nothing_behind(shop: Rig) -> None:
    """After runs, the zygote has its template and no other child; the template has none."""
    (worker,) = shop.workers
    for _ in range(3):
        assert shop.python_run(PRINT).how == ("succeeded", None, 0)
    eventually(lambda: [name(pid) for pid in children(worker.zygote)] == ["sealrun-kms"], 10, "a fork stays behind")
    assert children(template(worker)) == []
    links = [os.readlink(f"/proc/{worker.zygote}/fd/{fd}") for fd in os.listdir(f"/proc/{worker.zygote}/fd")]
    assert len(links) == 7, links


def test_killed_worker_and_zygote_take_the_template_with_them(line: Rig) -> None:
    """I8: it sees that the zygote is gone."""
    (worker,) = line.workers
    pids = [worker.pid, worker.zygote, template(worker)]
    for pid in pids[:2]:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(map(is_alive, pids)), 15, "something outlives its worker")
