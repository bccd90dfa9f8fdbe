"""`sealrun worker`, `sealrun workers` and `sealrun up`."""

import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest
from sqlalchemy import update

from executor.database import open_database
from executor.models import Worker
from executor.runs import Offer, workers
from executor.settings import read_settings
from tests.executor.cli.conftest import PATIENCE, Cli
from tests.processes import children, eventually, is_alive, name
from tests.servers import free_port

SAVES = """
import os, signal, sys, time
def save(number, frame):
    print("saved", os.environ["API_KEY"], flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("begun", flush=True)
time.sleep(600)
"""


@pytest.fixture
def shop(new_cli: Cli) -> Cli:
    """A home with an empty project."""
    new_cli.ok("project", "create", "shop")
    new_cli.environ["SEALRUN_PROJECT"] = "shop"
    return new_cli


@pytest.mark.parametrize(("count", "slots"), [("3", "3 slots"), ("1", "1 slot")])
def test_it_says_what_it_is_and_serves_under_its_name(shop: Cli, count: str, slots: str) -> None:
    """Our own lines instead of Celery's banner, and a lent user id instead of its warning about root."""
    worker = shop.start("worker", "-c", count, "-n", "mill@%h", "-l", "info")
    eventually(lambda: worker.pid in shop.workers() or worker.poll() is not None, PATIENCE, "it appears")

    told = shop.json("run", "--json", "--", "true")
    found = shop.ok("doctor")
    worker.send_signal(signal.SIGTERM)
    out, said = worker.communicate(timeout=PATIENCE)

    assert f"(process {worker.pid}, {slots}, rung " in found
    assert told["worker"].startswith("mill@")
    assert worker.returncode == 0
    assert "sealrun worker: the embedded broker" in said
    assert ("lent a user id of its own" in said) is (os.geteuid() == 0)
    assert "ready: mill@" in said and f", {slots}, queues sealrun" in said
    assert "superuser" not in said and "celery@" not in out + said and "[config]" not in out + said


@pytest.fixture
def mill(shop: Cli) -> Iterator["subprocess.Popen[str]"]:
    """A worker that is counted and has a run that goes on, with a secret."""
    shop.ok("secret", "set", "API_KEY", stdin="hunter2-prod-key")
    shop.job("saves.py", SAVES)
    shop.environ["SEALRUN_METRICS_LISTEN"] = f"127.0.0.1:{free_port()}"
    worker = shop.start("worker", "-c", "2", "-n", "mill@%h", "-Q", "sealrun,night")
    try:
        eventually(lambda: shop("worker", "--check").returncode == 0 or worker.poll(), PATIENCE, "it is ready")
        shop.run_id = shop.ok("run", "--detach", "saves.py", "an-argument").strip()  # type: ignore[attr-defined]
        eventually(lambda: "begun" in shop.ok("runs", "logs", "@last"), PATIENCE, "its run has begun")
        yield worker
    finally:
        worker.kill()


@pytest.mark.long
def test_a_worker_can_be_listed_checked_counted_and_stopped(shop: Cli, mill: "subprocess.Popen[str]") -> None:
    """By whoever runs it: no word of it is a secret, and the log names a run without its arguments.

    A second signal ends what still runs, which has its grace, and nothing else of the worker's end is different.
    """
    run = shop.run_id  # type: ignore[attr-defined]
    (listed,) = shop.json("workers", "--json")
    shown = shop.ok("workers").rstrip("\n").split("\t")
    assert (listed["pid"], listed["slots"], listed["running"], listed["alive"]) == (mill.pid, 2, [run], True)
    assert [re.fullmatch(r"local:[0-9a-f]{16}", one) is not None for one in listed["key_services"]] == [True]
    assert shown[:2] == [listed["name"], "lives"] and f"1 {run[:8]}" in shown and "sealrun,night" in shown

    assert shop.ok("worker", "--check", "-n", "mill@%h") == f"worker {listed['name']} (process {mill.pid}) takes runs\n"
    assert 'no worker "celery@weir" is here' in shop("worker", "--check", "-n", "weir", code=1).stderr

    with urllib.request.urlopen(f"http://{shop.environ['SEALRUN_METRICS_LISTEN']}/metrics", timeout=10) as answer:
        counted = answer.read().decode()
    assert "sealrun_running 1.0" in counted and "sealrun_ready 1.0" in counted
    assert not any(word in counted for word in ("hunter2", "API_KEY", "shop", "saves.py", run, str(shop.home)))

    mill.send_signal(signal.SIGINT)
    eventually(lambda: "told to stop" in shop("worker", "--check").stderr, PATIENCE, "it is told to stop")
    shop.ok("worker", "--check", "--live")
    eventually(lambda: shop.ok("workers").split("\t")[1] == "ending", PATIENCE, "its row says that it ends")
    mill.send_signal(signal.SIGINT)
    _, log = mill.communicate(timeout=PATIENCE)

    ended = shop.json("runs", "show", run, "--json")
    assert (ended["state"], ended["reason"]) == ("failed", "lost") and "its worker was stopped" in ended["message"]
    assert shop.ok("runs", "logs", run) == "begun\nsaved ***\n"
    assert mill.returncode == 0 and "Traceback" not in log
    assert f"told to stop: waits for what it runs ({run[:8]}); a second signal ends that" in log
    which = 'project="shop/default" target="saves.py"'
    assert f"INFO run {run}: attempt 1 {which}\n" in log
    assert re.search(rf"INFO run {run}: lost {which} seconds=\d+\.\d+\n", log) and "an-argument" not in log
    assert "no worker is here" in shop("worker", "--check", code=1).stderr
    assert shop.ok("workers").split("\t")[:2] == [listed["name"], "stopped"]


def test_a_worker_that_is_long_gone_is_listed_on_request(shop: Cli) -> None:
    """And one that died without a word is `gone`."""
    db = open_database(read_settings(shop.environ))
    workers.appear(db, Offer("old@mill", "mill", ("sealrun",), "landlock"), 1, 1)
    with db.writing() as session:
        session.exec(update(Worker).values(seen_at=db.after(-7200)))
    db.close()
    assert shop.ok("workers") == "" and shop.json("workers", "--json") == []
    assert shop.ok("workers", "--all").split("\t")[:2] == ["old@mill", "gone"]


def test_a_check_imports_little(shop: Cli) -> None:
    """It is called every few seconds: neither Celery nor the database's library is loaded for it."""
    code = (
        "import sys; from executor.cli.lazy import load\n"
        "try: load('worker')(['--check'])\n"
        "except BaseException as error: print(type(error).__name__)\n"
        "print(sorted({'celery', 'sqlalchemy', 'sqlmodel', 'rich', 'prometheus_client'} & sys.modules.keys()))"
    )
    ended = subprocess.run([sys.executable, "-c", code], env=shop.environ, capture_output=True, text=True)
    assert ended.stdout == "WorkerUnwell\n[]\n", ended.stderr


@pytest.mark.parametrize("words", [("--live",), ("--live", "-c", "2")])
def test_live_is_for_a_check(shop: Cli, words: tuple[str, ...]) -> None:
    """It would start a worker."""
    assert "for --live: it goes with --check" in shop("worker", *words, code=2).stderr


@pytest.mark.parametrize(
    "words",
    [("-Q", ""), ("-Q", "a b"), ("-Q", "a,,b"), ("-n", "bad name"), ("-n", ""), ("-n", "a@b@c"), ("-n", "x" * 201)],
)
def test_names_that_lead_nowhere_are_refused(shop: Cli, words: tuple[str, ...]) -> None:
    """A queue that no run can be submitted to, and what is no name of a worker."""
    said = shop("worker", *words, code=2).stderr
    assert "a queue name has" in said if words[0] == "-Q" else "a worker's name has" in said


@pytest.mark.long
def test_a_broker_that_refuses_is_asked_again(shop: Cli, amqp_url: str) -> None:
    """Ever later, with a line each time; the process lives meanwhile, and takes no run."""
    nowhere = amqp_url.rpartition("//")[0] + "/nowhere"
    worker = shop.start("worker", "-c", "1", environ={"SEALRUN_BROKER_URL": nowhere})
    try:
        assert worker.stderr is not None
        said = [line for line, _ in zip((line for line in worker.stderr if " ERROR " in line), range(2), strict=False)]
        assert [line.rstrip("\n").partition("asked again in ")[2] for line in said] == ["2 seconds", "4 seconds"]
        assert all("refuses the virtual host" in line for line in said)
        shop.ok("worker", "--check", "--live")
        assert "waits for its broker" in shop("worker", "--check", code=1).stderr
    finally:
        worker.terminate()
        _, left = worker.communicate(timeout=PATIENCE)
    assert "Traceback" not in left and worker.returncode == 0


def test_a_second_worker_of_a_name_warns(shop: Cli) -> None:
    """Unless the other one is dead by now."""
    name = f"celery@{socket.gethostname()}"
    db = open_database(read_settings(shop.environ))
    offer = Offer(name, socket.gethostname(), ("sealrun",), "landlock")
    other = subprocess.Popen(["sleep", "600"])
    for pid in (other.pid, 2**22 + 1):
        workers.appear(db, offer, pid, 1)
    worker = shop.start("worker", "-c", "1")
    try:
        assert worker.stderr is not None
        said = list(itertools.takewhile(lambda line: "ready:" not in line, worker.stderr))
    finally:
        worker.terminate()
        worker.communicate(timeout=PATIENCE)
        other.kill()
        other.wait()
        db.close()
    told = [line for line in said if "another worker lives" in line]
    assert len(told) == 1 and f"(process {other.pid}, " in told[0], said


def test_a_level_it_does_not_know_is_refused(shop: Cli) -> None:
    """With those it knows."""
    assert "one of debug, info, warning, error" in shop("worker", "-l", "loud", code=2).stderr
    assert "-c" in shop("worker", "-c", "0", code=2).stderr


@pytest.mark.long
def test_on_another_system_it_says_that_it_needs_linux(shop: Cli) -> None:
    """All else works there; `worker`, `up` and a run that would need one of its own say so."""
    (shop.folder / "mac").mkdir()
    (shop.folder / "mac" / "sitecustomize.py").write_text("import platform; platform.system = lambda: 'Darwin'\n")
    mac = {"PYTHONPATH": f"{shop.folder}/mac:{shop.environ['PYTHONPATH']}"}
    for words, code in ((("worker",), 1), (("up",), 1), (("run", "--", "true"), 125)):
        refused = shop(*words, environ=mac, code=code)
        assert "a worker needs Linux" in refused.stderr and "this is Darwin" in refused.stderr
    assert "shop" in shop.ok("project", "list", environ=mac)
    assert "runs need Linux" in shop("doctor", environ=mac, code=0).stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_up_starts_broker_and_worker_and_ends_both(shop: Cli, number: signal.Signals) -> None:
    """Processes of their own under one command; Ctrl-C, TERM or a closed terminal ends all of them."""
    up = shop.start("up", "-c", "1", "--no-server")
    eventually(lambda: shop.workers() or up.poll() is not None, PATIENCE, "its worker appears")
    (worker,) = shop.workers()
    brokers = [pid for pid in children(up.pid) if pid != worker]

    assert shop("run", "--", "echo", "up", code=0).stdout == "up\n"
    assert [name(pid) for pid in brokers] in (["redis-server"], ["valkey-server"])
    up.send_signal(number)
    _, said = up.communicate(timeout=PATIENCE)

    assert up.returncode == 0
    assert f"sealrun up: embedded broker in {shop.home}/broker" in said
    assert f"sealrun up: worker is process {worker}" in said
    assert not is_alive(worker) and not any(map(is_alive, brokers))


def test_up_says_what_is_configured(shop: Cli) -> None:
    """It starts no broker where one is named."""
    configured = {"SEALRUN_BROKER_URL": "redis://127.0.0.1:1/0"}
    up = shop.start("up", "--no-server", environ=configured)
    assert up.stderr is not None
    said = ""
    while "worker is process" not in said:
        line = up.stderr.readline()
        assert line, said
        said += line
    assert "SEALRUN_BROKER_URL is set, so no broker is started" in said
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=PATIENCE)
