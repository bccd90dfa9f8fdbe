"""What one-shot processes are handed, and what stays in the environment of the process that hands it over."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread, Timer
from types import SimpleNamespace

import pytest

from executor.keys import aws_credentials
from executor.submission.standby import worker_environment
from tests.executor.conftest import ROOT

KEYS = "aws-kms:alias/sealrun?region=eu-north-1"
SECRET = "canary-secret-access-key"
TOKEN = "canary-authorization-token"
PASSWORD = "canary-database-password"

LOOK = """
import os, sys, time
sys.path[:0] = [sys.argv[1]]
from executor.keys.access import empty_environment, key_access
from executor.settings import read_here
settings = read_here()
def shown():
    return open("/proc/self/environ", "rb").read().decode()
def until(look):
    end = time.monotonic() + 20
    while not look() and time.monotonic() < end:
        time.sleep(0.01)
    return look()
"""


def process(code: str, environ: dict[str, str], home: Path) -> str:
    """What some code prints, in a process of its own with this environment."""
    ended = subprocess.run(
        [sys.executable, "-c", LOOK + code, ROOT],
        env={"PATH": os.defpath, "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", **environ},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def container() -> Iterator[str]:
    """A container's credential server: a new key at each request, all of them about to end."""
    given: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given.append(1)
            welcome = self.headers["Authorization"] == TOKEN
            soon = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
            key = {"AccessKeyId": f"KEY{len(given)}", "SecretAccessKey": SECRET, "Token": "t", "Expiration": soon}
            body = json.dumps(key if welcome else {}).encode()
            self.send_response(200 if welcome else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_credentials_leave_the_environment_and_what_proc_shows(tmp_path: Path) -> None:
    """I1, I3: root reads neither them nor a database's password in /proc; the process itself still has the latter."""
    given = {
        "SEALRUN_KEYS": KEYS,
        "SEALRUN_DATABASE_URL": f"postgresql://u:{PASSWORD}@db/x",
        "SEALRUN_BROKER_URL": f"redis://:{PASSWORD}@broker/0",
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "LAST": "stays",
    }
    code = f"""
found = key_access(settings).credentials
assert (found.access_key, found.secret_key, found.token) == ("AKIATEST", {SECRET!r}, {TOKEN!r})
assert {PASSWORD!r} in shown() and {SECRET!r} in shown()
empty_environment(settings)
print([word for word in ("canary", "AKIATEST", "AWS_SECRET") if word in shown()])
print("LAST=stays" in shown(), "SEALRUN_KEYS=aws-kms" in shown())
print(sorted(name for name in os.environ if name.startswith("AWS_")))
print(read_here().store.database_url.count({PASSWORD!r}), os.popen("echo $SEALRUN_BROKER_URL").read().strip()[-8:])
assert key_access(settings).credentials == found
"""
    assert process(code, given, tmp_path).splitlines() == [
        "[]",
        "True True",
        "['AWS_EC2_METADATA_DISABLED']",
        "1 broker/0",
    ]


def test_the_import_of_botocore_is_not_what_patience_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine it takes seconds, and credentials that stand in the environment are found all the same."""
    imported = Event()
    found = SimpleNamespace(access_key="AKIATEST", secret_key=SECRET, token=None)
    chained = SimpleNamespace(get_frozen_credentials=lambda: found, method="env")

    def chain(_: object) -> object:
        imported.wait()
        return SimpleNamespace(get_credentials=lambda: chained)

    monkeypatch.setattr(aws_credentials, "_chain", chain)
    late = aws_credentials.AwsCredentials(patience=1.0)
    Timer(1.5, imported.set).start()

    assert late.current is not None and late.current.access_key == "AKIATEST"
    assert late.provider == "env"


def test_with_local_keys_no_credential_is_looked_for(tmp_path: Path) -> None:
    """Nor touched: they are then somebody else's; and botocore is not loaded."""
    code = """
access = key_access(settings)
empty_environment(settings)
print(access.credentials, os.environ["AWS_SECRET_ACCESS_KEY"], "botocore" in sys.modules)
"""
    assert process(code, {"AWS_SECRET_ACCESS_KEY": SECRET}, tmp_path) == f"None {SECRET} False\n"


def test_credentials_are_renewed_without_the_environment(tmp_path: Path, container: str) -> None:
    """A container's, whose token the process had at its start alone."""
    code = """
from executor.keys.aws_credentials import AwsCredentials
kept = AwsCredentials(10, renewal=0.02)
first = kept.current.access_key
empty_environment(settings)
print(first, kept.provider, "AWS_CONTAINER_AUTHORIZATION_TOKEN" in os.environ, "canary" in shown())
print(until(lambda: kept.current.access_key not in (first, "KEY2")))
"""
    given = {
        "SEALRUN_KEYS": KEYS,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": container,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": TOKEN,
    }
    # botocore renews what it hands out for the first time, if that is about to end.
    assert process(code, given, tmp_path).splitlines() == ["KEY2 container-role False False", "True"]


def test_credentials_that_come_later_are_found(tmp_path: Path) -> None:
    """A worker that starts without any need not be started again."""
    code = """
from executor.keys.aws_credentials import AwsCredentials
kept = AwsCredentials(10, renewal=0.02)
print(kept.current, kept.provider)
with open(os.environ["AWS_SHARED_CREDENTIALS_FILE"], "w") as file:
    file.write("[default]\\naws_access_key_id = LATE\\naws_secret_access_key = x\\n")
print(until(lambda: kept.current and kept.current.access_key), kept.provider)
"""
    given = {"SEALRUN_KEYS": KEYS, "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    assert process(code, given, tmp_path).splitlines() == ["None None", "LATE shared-credentials-file"]


def test_a_chain_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """A credential server that never answers: after the wait there are none, and the process goes on."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(4)
        code = "print(key_access(settings).credentials)"
        given = {
            "SEALRUN_KEYS": KEYS,
            "SEALRUN_KMS_TIMEOUT_SECONDS": "1",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{deaf.getsockname()[1]}/",
        }
        assert process(code, given, tmp_path) == "None\n"


def test_a_standby_worker_gets_aws_variables_with_kms_alone() -> None:
    """And of those what leads to credentials, or to AWS: neither another secret of the user's nor all of AWS_*.

    How this machine reaches the network it gets in any case.
    """
    environ = {
        "PATH": "/bin",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_PROFILE": "p",
        "AWS_REGION": "r",
        "HTTPS_PROXY": "y",
        "AWS_DEFAULT_OUTPUT": "json",
        "GITHUB_TOKEN": "z",
    }
    assert set(worker_environment(environ)) == {"PATH", "HTTPS_PROXY"}
    assert set(worker_environment({**environ, "SEALRUN_KEYS": KEYS})) == {
        "PATH", "SEALRUN_KEYS", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION", "HTTPS_PROXY",
    }  # fmt: skip
