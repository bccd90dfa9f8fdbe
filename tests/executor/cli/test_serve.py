"""`sealrun serve`, and the server of `sealrun up`: started, told what is wrong, entered for the first time, ended."""

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from tests.executor.cli.conftest import Cli, Terminal
from tests.processes import arguments, children, environ, eventually, is_alive
from tests.rig import PATIENCE


@pytest.fixture
def port() -> int:
    """One that was free a moment ago."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


@contextlib.contextmanager
def started(cli: Cli, *words: str, **environ: str) -> Iterator["subprocess.Popen[str]"]:
    """A command that stays; it is ended whatever comes."""
    process = cli.start(*words, environ=environ)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def read_until(process: "subprocess.Popen[str]", word: str) -> str:
    """What it says, up to the line with a word."""
    assert process.stderr is not None
    said = ""
    while word not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return said


def answers(port: int) -> bool:
    """Whether a server reaches its database there."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/api/v1/health/ready").status_code == 200
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_cleanly(cli: Cli, port: int, number: signal.Signals) -> None:
    """Ctrl-C, TERM or a closed terminal ends it with 0; it is silent about requests."""
    with started(cli, "serve", "--listen", f"127.0.0.1:{port}") as server:
        said = read_until(server, "/api/v1\n")
        assert f"sealrun serve: http://127.0.0.1:{port}/api/v1" in said
        assert answers(port)
        server.send_signal(number)
        _, rest = server.communicate(timeout=PATIENCE)
        assert (server.returncode, rest) == (0, "")


def test_what_is_wrong_is_a_sentence(cli: Cli, port: int) -> None:
    """Its address is taken, its database is away, its extra is not installed."""
    with socket.create_server(("127.0.0.1", port)):
        taken = cli("serve", "--listen", f"127.0.0.1:{port}", code=1).stderr
    assert f"the server cannot listen on 127.0.0.1:{port}: address already in use" in taken and "hint: " in taken
    away = {"SEALRUN_DATABASE_URL": "postgresql://ada@127.0.0.1:1/shop", "SEALRUN_BROKER_URL": "redis://127.0.0.1:1"}
    assert "127.0.0.1:1/shop cannot be reached\nhint: " in cli("serve", environ=away, code=1).stderr
    (cli.folder / "bare").mkdir()
    (cli.folder / "bare" / "sitecustomize.py").write_text("import sys; sys.modules['uvicorn'] = None\n")
    bare = {"PYTHONPATH": f"{cli.folder}/bare:{cli.environ['PYTHONPATH']}"}
    missing = cli("serve", environ=bare, code=1).stderr
    assert "sealrun serve needs FastAPI with uvicorn, which is not installed" in missing


def test_up_has_it_and_goes_on_without(cli: Cli, port: int) -> None:
    """Where its address is taken that is a line, and the worker runs."""
    with socket.create_server(("127.0.0.1", port)), started(cli, "up", SEALRUN_LISTEN=f"127.0.0.1:{port}") as up:
        said = read_until(up, "worker is process")
        assert "sealrun up: without the HTTP API: the server cannot listen" in said


def test_the_first_admin_comes_in_by_a_page_of_ups(new_cli: Cli, port: int) -> None:
    """The page is this user's, its secret stands nowhere else, makes one admin, and is gone with `up`."""
    cli = new_cli
    with started(cli, "up", "-c", "1", SEALRUN_LISTEN=f"127.0.0.1:{port}", SEALRUN_OIDC_SCOPES="openid") as up:
        said = read_until(up, "first-admin")
        page = cli.home / f"first-admin-{port}.html"
        assert f"the first admin is made within ten minutes at {page.as_uri()}" in said
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
        link = re.search('url=(http[^"]+)"', page.read_text())
        assert link is not None
        url = urlsplit(link[1])
        assert (url.netloc, url.path, url.query) == (f"127.0.0.1:{port}", "/first-admin", "")
        eventually(lambda: answers(port), PATIENCE, "the server answers")
        mine = [pid for pid in children(up.pid) if b"serve" in arguments(pid).split(b"\0")]
        family = [up.pid, *children(up.pid)]
        assert len(mine) == 1
        for pid in family:
            assert url.fragment.encode() not in arguments(pid) + repr(environ(pid)).encode()
        assert [pid for pid in family if "SEALRUN_OIDC_SCOPES" in environ(pid)] == [up.pid, *mine]

        given = {"secret": url.fragment, "name": "ada", "password": "correct horse battery staple"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as browser:
            assert browser.post("/first-admin", data=given).status_code == 303
            assert browser.post("/first-admin", data={**given, "name": "eve"}).status_code == 410
        up.send_signal(signal.SIGINT)
        _, rest = up.communicate(timeout=PATIENCE)
        assert up.returncode == 0
        assert url.fragment not in said + rest
        assert not page.exists() and not any(map(is_alive, mine))
    with started(cli, "up", "-c", "1", SEALRUN_LISTEN=f"127.0.0.1:{port}") as up:
        assert "first-admin" not in read_until(up, "/api/v1\n")


def test_serve_opens_the_page_for_who_sits_at_a_terminal(new_cli: Cli, port: int) -> None:
    """With the system's browser, and the path alone in its command; without a terminal there is no link."""
    cli = new_cli
    asked = cli.folder / "asked"
    browser = cli.folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {asked}.part; mv {asked}.part {asked}\n')
    browser.chmod(0o755)
    known = {**cli.environ, "SEALRUN_LISTEN": f"127.0.0.1:{port}", "BROWSER": f"{browser} %s"}
    terminal = Terminal(cli.command("serve"), cli.folder, known)
    terminal.until("/api/v1")
    eventually(asked.exists, 5, lambda: terminal.shown)
    page = cli.home / "server" / f"first-admin-{port}.html"
    assert asked.read_text() == f"{page.as_uri()}\n"
    os.kill(terminal.pid, signal.SIGINT)
    assert terminal.ended() == 0
    assert not page.exists()
    with started(cli, "serve", "--listen", f"127.0.0.1:{port}") as server:
        assert "first admin" not in read_until(server, "/api/v1\n")
