"""`sealrun worker` and `sealrun up`."""

import os
import signal

import pytest

from tests.executor.cli.conftest import PATIENCE, Cli
from tests.processes import children, eventually, is_alive, name


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


def test_a_level_it_does_not_know_is_refused(shop: Cli) -> None:
    """With those it knows."""
    assert "one of debug, info, warning, error" in shop("worker", "-l", "loud", code=2).stderr
    assert "-c" in shop("worker", "-c", "0", code=2).stderr


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
    up = shop.start("up", "-c", "1")
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
    up = shop.start("up", environ=configured)
    assert up.stderr is not None
    said = ""
    while "worker is process" not in said:
        line = up.stderr.readline()
        assert line, said
        said += line
    assert "SEALRUN_BROKER_URL is set, so no broker is started" in said
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=PATIENCE)
