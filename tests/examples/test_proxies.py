"""The proxies' files of examples/, as they stand but for ports and paths, in front of a server that runs."""

import asyncio
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.processes import eventually
from tests.rig import CHECKOUT, PATIENCE, Rig, command, rig
from tests.server_process import serving

pytestmark = pytest.mark.long
NAME = "sealrun.example.com"


@pytest.fixture
def made() -> Iterator[Rig]:
    """A project and a worker."""
    with rig() as one:
        one.keep_broker()
        one.project("shop")
        one.start_worker()
        yield one


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def nginx(folder: Path, upstream: str, port: int) -> list[str]:
    """Its command, with the file of examples/ in the middle of a whole configuration."""
    plain = free_port()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={NAME}",
         "-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    text = (CHECKOUT / "examples/sealrun-nginx.conf").read_text()
    text = re.sub(r"\n *listen \[::\].*", "", text)
    for before, after in (
        ("127.0.0.1:8741", upstream), ("/etc/ssl/sealrun", str(folder)), ("/var/log/nginx", str(folder)),
        ("listen 443", f"listen 127.0.0.1:{port}"), ("listen 80", f"listen 127.0.0.1:{plain}"),
    ):  # fmt: skip
        assert before in text
        text = text.replace(before, after)
    file = folder / "nginx.conf"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    own = f"user root; daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
    file.write_text(f"{own}\nhttp {{ {temporary}\n{text}\n}}\n")
    return ["nginx", "-p", str(folder), "-c", str(file), "-e", str(folder / "error.log")]


def caddy(folder: Path, upstream: str, port: int) -> list[str]:
    """Its command, with certificates of its own in place of those of an authority."""
    text = (CHECKOUT / "examples/sealrun-Caddyfile").read_text()
    site = f"{NAME} {{\n\ttls internal"
    for before, after in (
        ("127.0.0.1:8741", upstream), ("/var/log/caddy", str(folder)), (f"{NAME} {{", site),
    ):  # fmt: skip
        assert before in text
        text = text.replace(before, after)
    own = ("admin off", "skip_install_trust", "auto_https disable_redirects", f"https_port {port}")
    own = (*own, f"storage file_system {folder}/caddy")
    head = "{\n\t" + "\n\t".join(own) + "\n}\n"
    (folder / "Caddyfile").write_text(head + text)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.mark.parametrize("proxy", [nginx, caddy], ids=["nginx", "caddy"])
def test_a_server_behind_it(made: Rig, proxy: object, tmp_path: Path) -> None:
    """Its name is answered, a caller's claim of an address is not believed, and lines come as they are printed."""
    assert callable(proxy)
    if shutil.which(proxy.__name__) is None:
        pytest.skip(f"no {proxy.__name__} here")
    port = free_port()
    behind = {"SEALRUN_PUBLIC_URL": f"https://{NAME}", "SEALRUN_TRUSTED_PROXIES": "127.0.0.1"}
    with serving(made, host=NAME, **behind) as server:
        upstream = f"{server.client.base_url.host}:{server.client.base_url.port}"
        running = subprocess.Popen(
            proxy(tmp_path, upstream, port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/sbin:/usr/bin:/bin", "HOME": str(tmp_path)},
        )  # fmt: skip
        try:
            asyncio.run(_asked(made, server.client.headers["authorization"], port, tmp_path))
        finally:
            running.terminate()
            running.wait()


async def _asked(made: Rig, token: str, port: int, folder: Path) -> None:
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    base, named = f"https://127.0.0.1:{port}", {"sni_hostname": NAME}
    headers = {"host": NAME, "authorization": token, "x-forwarded-for": "127.0.0.1"}
    async with httpx.AsyncClient(verify=trust, headers=headers, timeout=PATIENCE) as client:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                ready = await client.get(f"{base}/api/v1/health/ready", extensions=named)
                if ready.status_code == 200:
                    break
            except httpx.TransportError:
                assert time.monotonic() < until
            await asyncio.sleep(0.05)
        assert "max-age" in ready.headers["strict-transport-security"]
        me = await client.get(f"{base}/api/v1/me?code=canary-of-a-query", extensions=named)
        assert me.status_code == 200, me.text
        # It comes from loopback, and still through a proxy: that is no place for the first admin.
        assert (await client.get(f"{base}/first-admin", extensions=named)).status_code == 403

        waits = 'echo first; while ! test -e "$TMPDIR/go"; do sleep 0.02; done; echo second'
        run = made.submit(command("sh", "-c", waits))
        told: list[str] = []
        async with client.stream("GET", f"{base}/api/v1/runs/{run}/events", extensions=named) as events:
            async for line in events.aiter_lines():
                told.append(line)
                if line.startswith("event: output") and sum("event: output" in one for one in told) == 1:
                    made.let_go(run)  # the first line came while the run waits
        assert sum("event: output" in line for line in told) == 2
        assert any("event: end" in line for line in told)
    eventually(lambda: list(folder.glob("*access.log")), PATIENCE, "the proxy's log is there")
    (log,) = folder.glob("*access.log")
    eventually(lambda: "/api/v1/me" in log.read_text(), PATIENCE, "the request is in it")
    assert "canary-of-a-query" not in log.read_text() and "srn_" not in log.read_text()
