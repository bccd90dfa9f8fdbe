"""A team's machines: a server that signs, a worker that insists on it, and people with a URL and a token each."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from executor.keys.signing import create_signing_key
from executor.operations.deployment import Deployment
from executor.people.principal import Place
from secretstore import vault
from tests.processes import eventually
from tests.rig import CHECKOUT, PATIENCE, Rig, rig
from tests.serving import serving, token_of

VALUE = "canary-of-the-team-77f2"
LATER = "canary-that-came-later-31"


@dataclass
class Person:
    """Somebody at a machine of their own: a URL, a token, no database, no broker and no key file."""

    folder: Path
    url: str
    token: str
    pins: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.work.mkdir()

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": os.defpath, "HOME": str(self.folder), "LANG": "C.UTF-8", "PYTHONPATH": str(CHECKOUT),
            "SEALRUN_HOME": str(self.folder / "sealrun"), "SEALRUN_WARM_SECONDS": "0",
            "SEALRUN_SERVER": self.url, "SEALRUN_TOKEN": self.token, **self.pins,
        }  # fmt: skip

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "executor.cli", *words], cwd=self.work, env=self.environ,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self, *words: str, stdin: str = "", code: int | None = 0) -> "subprocess.CompletedProcess[str]":
        """A command and its end: it says what went wrong in sentences."""
        process = self.begin(*words)
        out, err = process.communicate(stdin, timeout=120)
        ended = subprocess.CompletedProcess(words, process.returncode, out, err)
        assert "Traceback" not in err and "unexpected" not in err, err
        assert code is None or ended.returncode == code, (words, ended)
        return ended

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json").stdout)

    def write(self, name: str, code: str) -> str:
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        return name


@dataclass
class Team:
    """The server's machine, the worker's, and who comes to them."""

    rig: Rig
    url: str
    admin: Person

    def person(self, name: str, role: str, project: str | None = None, environment: str | None = None) -> Person:
        """Somebody with a role at a place."""
        at = Deployment.open(self.rig.settings)
        try:
            found = vault.get_environment(at.db, project or "shop", environment or "default")
            place = Place()
            if project is not None:
                place = Place(found.project_id, project)
            if project is not None and environment is not None:
                place = Place(found.project_id, project, found.id, environment)
            token = token_of(at, name, role, place)
        finally:
            at.close()
        return Person(self.rig.folder / name, self.url, token)


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    """`shop` with `default`, `dev` and `prod`; a secret in each."""
    with rig() as made:
        signer = create_signing_key(made.folder / "signing.pem")
        made.keep_broker()
        made.start_worker(environ={"SEALRUN_DOORS": "api", "SEALRUN_SIGNERS": str(signer)})
        environ = {**made.environ, "PYTHONPATH": str(CHECKOUT)}
        with serving(environ | {"SEALRUN_SIGNING_KEY": str(made.folder / "signing.pem")}, made.folder) as (url, token):
            admin = Person(made.folder / "admin", url, token)
            admin("project", "create", "shop", "-e", "dev", "-e", "prod")
            pins = [f"{one['environment']}={one['pin']}" for one in admin.json("key", "list", "-p", "shop")]
            admin.pins["SEALRUN_PIN"] = ",".join(pins)
            admin("secret", "set", "API_KEY", "-p", "shop", "-e", "default", "-e", "dev", "-e", "prod", stdin=VALUE)
            yield Team(made, url, admin)


SAYS = """
import os, sys, pathlib
print(os.environ["STAGE"], len(os.environ["API_KEY"]), os.environ["API_KEY"], flush=True)
print("to stderr", file=sys.stderr)
pathlib.Path("report.csv").write_text("a,b")
raise SystemExit(int(sys.argv[1]))
"""
WAITS = """
import time
print("it has begun", flush=True)
time.sleep(300)
"""


def test_a_day(team: Team) -> None:
    """I1: a value is sealed here and given to a run there, which is followed live and ends as it would here."""
    ada = team.admin
    ada("variable", "set", "STAGE", "prod", "-p", "shop")
    told = ada("run", "-p", "shop", ada.write("job.py", SAYS), "3", code=3)
    assert told.stdout == f"prod {len(VALUE)} ***\n" and "to stderr" in told.stderr
    (run,) = ada.json("runs", "list", "-p", "shop")
    assert (run["state"], run["exit_code"], run["door"]) == ("failed", 3, "api")
    shown = ada("runs", "show", run["id"][:8]).stdout
    assert "API_KEY" in shown and VALUE not in shown

    process = ada.begin("run", "-p", "shop", ada.write("waits.py", WAITS))
    assert process.stdout is not None
    assert process.stdout.readline() == "it has begun\n", "while it goes on"
    assert [one["state"] for one in ada.json("runs", "list", "-p", "shop", "-L", "1")] == ["running"]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and "detached; the run goes on" in err and "Traceback" not in err, err
    (going,) = ada.json("runs", "list", "-p", "shop", "-L", "1")
    ada("runs", "cancel", going["id"])
    assert "is signed, for workers with SEALRUN_DOORS=api SEALRUN_SIGNERS=ed25519:" in log(team)


def log(team: Team) -> str:
    return (team.rig.folder / "serve.log").read_text()


@pytest.mark.long
def test_all_that_is_done_with_runs(team: Team) -> None:
    """Listed, logged, fetched, tried again, cancelled; the exit codes are a direct command line's."""
    ada = team.admin
    ada("variable", "set", "STAGE", "prod", "-p", "shop")
    ended = ada("run", "-p", "shop", "--json", ada.write("job.py", SAYS), "0")
    run = json.loads(ended.stdout)["id"]
    assert ada("runs", "logs", run).stdout == f"prod {len(VALUE)} ***\n"
    ada("runs", "download", run, "--output", "got")
    assert (ada.work / "got" / "report.csv").read_text() == "a,b"
    again = json.loads(ada("runs", "retry", run, "--json").stdout)["id"]
    assert again != run and ada.json("runs", "show", again)["retry_of"] == run
    detached = ada("run", "-p", "shop", "--detach", ada.write("waits.py", WAITS)).stdout.strip()
    ada("runs", "cancel", detached)
    eventually(lambda: ada.json("runs", "show", detached)["state"] == "cancelled", PATIENCE, "it is cancelled")
    assert ada("run", "-p", "shop", "--timeout", "1", "waits.py", code=124).returncode == 124
    assert ada("run", "-p", "shop", "--", "sh", "-c", "kill -9 $$", code=137).returncode == 137
    assert "nothing.py" in ada("run", "-p", "shop", "nothing.py", code=None).stderr


@pytest.mark.long
def test_all_that_is_done_with_secrets(team: Team) -> None:
    """Imported, renamed by a worker, its keys rotated by one, a source made and tried; a signed job each."""
    ada = team.admin
    (ada.work / ".env").write_text(f"TOKEN_A={LATER}\nLOG_LEVEL=debug\n")
    ada("secret", "import", ".env", "-p", "shop", "-e", "dev", "--yes")
    assert {one["name"] for one in ada.json("secret", "list", "-p", "shop", "-e", "dev")} >= {"API_KEY", "TOKEN_A"}
    ada("secret", "rename", "TOKEN_A", "TOKEN_B", "-p", "shop", "-e", "dev", "--yes")
    ada("key", "rotate", "-p", "shop", "-e", "dev", "--yes")
    jobs = ada.json("job", "list", "-p", "shop", "-e", "dev")
    assert {one["kind"]: one["state"] for one in jobs} == {"rename": "succeeded", "rotate": "succeeded"}
    print_it = ada.write("late.py", "import os; print(len(os.environ['TOKEN_B']))")
    assert ada("run", "-p", "shop", "-e", "dev", print_it).stdout == f"{len(LATER)}\n"
    where = ("-p", "shop", "-e", "dev")
    ada(
        "catalog",
        "create",
        "lake",
        *where,
        "--kind",
        "unity-catalog",
        "--endpoint",
        team.url,
        "--token-secret",
        "TOKEN_B",
    )
    assert "lake" in ada("catalog", "list", "-p", "shop").stdout
    tried = ada("catalog", "test", "lake", *where, code=1)
    assert "HTTP 4" in tried.stdout + tried.stderr and LATER not in tried.stdout + tried.stderr
    ada("project", "create", "shop", "-e", "gone")
    ada("project", "delete", "shop", "-e", "gone", "--yes")
    assert "gone" not in ada("project", "list").stdout


@pytest.mark.long
def test_a_forged_row_opens_nothing(team: Team) -> None:
    """I4: whoever has the database's URL submits a run and a rotation of their own: the worker refuses both."""
    direct = {**team.rig.environ, "PYTHONPATH": str(CHECKOUT)}
    (team.rig.jobs / "forged.py").write_text("import os; print(os.environ['API_KEY'])")
    forged = subprocess.run(
        [sys.executable, "-m", "executor.cli", "run", "-p", "shop", "-e", "dev", "forged.py"],
        cwd=team.rig.jobs, env=direct, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert forged.returncode == 125 and "bears no signature" in forged.stderr and not forged.stdout
    (run,) = team.admin.json("runs", "list", "-p", "shop", "-L", "1")
    assert (run["reason"], run["door"]) == ("plan_refused", "direct")


@pytest.mark.long
def test_a_run_that_reaches_the_server_has_no_token(team: Team) -> None:
    """It is asked for one on loopback; and one of ours that it prints is masked, its own as anybody's."""
    ada = team.admin
    asks = f"""
import urllib.request, urllib.error
for path in ("/me", "/projects", "/projects/shop/secrets"):
    try:
        print(urllib.request.urlopen("{team.url}/api/v1" + path).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""
    assert ada("run", "-p", "shop", "--no-secrets", ada.write("asks.py", asks)).stdout.split() == ["401"] * 3
    told = ada("run", "-p", "shop", "--no-secrets", "--", "echo", "it is", ada.token)
    assert told.stdout == "it is ***\n"


VIEWER = (
    ("run", "-p", "shop", "--", "env"),
    ("run", "-p", "shop", "--no-secrets", "--", "true"),
    ("runs", "logs", "RUN"),
    ("runs", "cancel", "RUN"),
    ("runs", "retry", "RUN"),
    ("runs", "download", "RUN"),
    ("secret", "set", "MINE", "-p", "shop"),
    ("secret", "delete", "API_KEY", "-p", "shop", "--yes"),
    ("secret", "rename", "API_KEY", "MINE", "-p", "shop", "--yes"),
    ("variable", "set", "STAGE", "mine", "-p", "shop"),
    ("variable", "delete", "STAGE", "-p", "shop", "--yes"),
    ("source", "create", "web", "-p", "shop", "--kind", "http", "--url", "https://evil.example", "--yes"),
    ("key", "rotate", "-p", "shop", "--yes"),
    ("key", "rewrap", "--yes"),
    ("project", "create", "mine"),
    ("project", "delete", "shop", "--yes"),
    ("project", "delete", "shop", "--now", "--yes", "--confirm", "shop"),
    ("project", "delete", "shop", "-e", "dev", "--yes"),
    ("project", "set", "shop", "--network", "full"),
    ("audit", "list", "-p", "shop"),
    ("user", "list"),
    ("user", "create", "mine", "--service"),
    ("member", "add", "viewer", "--role", "admin"),
    ("token", "create", "mine", "--role", "admin"),
    ("migrate",),
    ("worker",),
    ("serve",),
)


@pytest.mark.long
def test_a_viewer_hears_a_sentence(team: Team) -> None:
    """Whatever is tried: an exit code, a line that says why, and nothing is changed."""
    run = team.admin("run", "-p", "shop", "--detach", "--no-secrets", "--", "true").stdout.strip()
    eve = team.person("viewer", "viewer")
    eve.pins.update(team.admin.pins)
    before = counted(team)
    for words in VIEWER:
        told = eve(*(run if word == "RUN" else word for word in words), stdin="a value of mine", code=None)
        assert told.returncode not in (0, None) and told.stderr.startswith("sealrun: "), (words, told)
        assert VALUE not in told.stdout + told.stderr
    assert counted(team) == before
    assert eve.json("secret", "list", "-p", "shop") and eve("runs", "show", run).stdout, "what it may it does"


def counted(team: Team) -> dict[str, Any]:
    ada = team.admin
    return {
        "runs": len(ada.json("runs", "list", "-p", "shop")),
        "secrets": [
            (one["environment"], one["name"], one["version"]) for one in ada.json("secret", "list", "-p", "shop")
        ],
        "variables": ada.json("variable", "list", "-p", "shop"),
        "projects": ada.json("project", "list"),
    }
