"""The unit of docs/how-to/service.md under Debian's own systemd, which is process 1 of a machine of its own."""

import json
import signal
from collections.abc import Callable, Iterator

import pytest

from executor.records import history, logs
from executor.sandbox import probing
from executor.schemas.runs import RunView
from secretstore.database import Database
from secretstore.settings import database_address
from tests.executor.cli.conftest import CHECKOUT, PATIENCE
from tests.processes import eventually
from tests.system.systemd_machine import Machine, machine

pytestmark = pytest.mark.long

UNIT = "sealrun-worker.service"
JOB = """
import os, signal, sys, time
def save(number, frame):
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
for path in (f"/proc/{os.getppid()}/environ", "/run/credentials", "/etc/sealrun/credentials/database-url"):
    try:
        found = os.listdir(path) if os.path.isdir(path) else open(path, "rb").read()
        print("OPEN", path, len(found))
    except OSError:
        pass
print("begun", os.environ["API_KEY"], flush=True)
while sys.argv[1] != "now" and not os.path.exists(os.environ["TMPDIR"] + "/go"):
    time.sleep(0.02)
print("done", flush=True)
"""


class Host(Machine):
    """A machine with the service on it."""

    environ: dict[str, str]
    db: Database

    def sealrun(self, *words: str, code: int | None = 0, stdin: str = "") -> str:
        return self.run("/opt/sealrun/bin/sealrun", *words, code=code, stdin=stdin, **self.environ)

    def check(self, *words: str, code: int | None = 0) -> str:
        environ = {"SEALRUN_WORKSPACES": "/var/lib/sealrun-runs"}
        asked = ("runuser", "-u", "sealrun", "--", "/opt/sealrun/bin/sealrun", "worker", "--check", *words)
        return self.run(*asked, code=code, **environ)

    def of_unit(self, name: str) -> str:
        return self.run("systemctl", "show", "-P", name, UNIT).strip()

    def start(self, **settings: str) -> None:
        """Start it with other settings of the unit than those it has, or with none."""
        lines = "".join(f"{name.rstrip('_')}={value}\n" for name, value in settings.items())
        self.write(f"/etc/systemd/system/{UNIT}.d/test.conf", f"[Service]\n{lines}")
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "restart", UNIT, code=None)
        assert self.of_unit("ActiveState") == "active", self.journal()

    def submit(self, until: str) -> str:
        """A run that goes on until it is let, unless it is to end now; it has begun."""
        run = self.sealrun("run", "--detach", "/srv/jobs/job.py", until).split()[0]
        eventually(lambda: "begun" in self.said(run), PATIENCE, lambda: f"{self.shown(run)}\n{self.journal()}")
        return run

    def shown(self, run: str) -> RunView:
        return history.show(self.db, run)

    def said(self, run: str) -> str:
        return b"".join(piece.data for piece in logs.read(self.db, run)[0]).decode()

    def ends(self, run: str) -> tuple[str, str | None]:
        """How a run ends."""
        eventually(lambda: self.shown(run).over, 2 * PATIENCE, lambda: f"{self.shown(run)}\n{self.journal()}")
        return self.shown(run).state, self.shown(run).reason

    def eventually(self, what: str, look: Callable[[], object]) -> None:
        eventually(look, PATIENCE, lambda: f"{what}; {self.journal()}")

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager", "-u", UNIT, "-n", "40", code=None)


@pytest.fixture(scope="module")
def host(redis_database: str, postgres_database: str) -> Iterator[Host]:
    """The page's steps, on servers of this machine."""
    with machine(Host) as made:
        made.environ = {
            "SEALRUN_HOME": "/root/sealrun",
            "SEALRUN_DATABASE_URL": postgres_database,
            "SEALRUN_BROKER_URL": redis_database,
            "SEALRUN_KEYS": "local:/root/local.key",
            "SEALRUN_PROJECT": "shop",
        }
        made.db = Database(database_address(postgres_database))
        made.write("/etc/sealrun/credentials/database-url", postgres_database, "0600")
        made.write("/etc/sealrun/credentials/broker-url", redis_database, "0600")
        made.sealrun("key", "create", "/root/local.key")
        own = ("install", "-o", "sealrun", "-g", "sealrun")
        made.run(*own, "-d", "-m", "0700", "/var/lib/sealrun")
        made.run(*own, "-m", "0600", "/root/local.key", "/var/lib/sealrun/local.key")
        made.write(
            "/etc/sealrun/worker.env", "SEALRUN_KEYS=local:/var/lib/sealrun/local.key\nSEALRUN_LEASE_SECONDS=6\n"
        )
        made.write(f"/etc/systemd/system/{UNIT}", (CHECKOUT / "examples" / UNIT).read_text())
        made.write("/srv/jobs/job.py", JOB)
        made.sealrun("migrate")
        made.sealrun("project", "create", "shop")
        made.sealrun("secret", "set", "API_KEY", stdin="hunter2-prod-key")
        made.start()
        yield made
        made.db.close()


def test_systemd_has_nothing_to_say_about_the_unit(host: Host) -> None:
    """Every line is one that this version knows."""
    assert host.run("systemd-analyze", "verify", f"/etc/systemd/system/{UNIT}") == ""


def test_it_is_started_when_it_takes_runs(host: Host) -> None:
    """`systemctl start` has waited for that, and `status` shows it; so does the check, from outside of the service."""
    assert (host.of_unit("ActiveState"), host.of_unit("StatusText")) == ("active", "takes runs")
    assert host.check() == f"worker worker@mill (process {host.of_unit('MainPID')}) takes runs\n"
    assert "lives" in host.check("--live", "-n", "worker@%h")


def test_a_run_has_its_secrets_and_nothing_of_the_services(host: Host) -> None:
    """I3: hardened as it is the sandbox stands, and credentials, passwords and the worker's environment are closed."""
    run = host.submit("now")
    assert host.ends(run) == ("succeeded", None)
    assert host.said(run) == "begun ***\ndone\n"
    receipt = host.shown(run).receipt
    assert receipt is not None and receipt.rung == probing.probe().rung, receipt.controls


def test_to_reload_is_refused(host: Host) -> None:
    """Settings are read at the start."""
    assert "not applicable" in host.run("systemctl", "reload", UNIT, code=3)


def test_stopped_it_lets_its_run_end(host: Host) -> None:
    """The worker alone hears TERM, takes nothing more, and its run does not notice."""
    run = host.submit("after")
    host.run("systemctl", "stop", "--no-block", UNIT)
    host.eventually("the check says so", lambda: "told to stop" in host.check(code=None))
    host.check("--live")
    later = host.sealrun("run", "--detach", "/srv/jobs/job.py", "now").split()[0]
    assert host.of_unit("ActiveState") == "deactivating"
    host.run("sh", "-c", "touch /var/lib/sealrun-runs/*-*/tmp/go")
    assert host.ends(run) == ("succeeded", None)
    host.eventually("it is stopped", lambda: host.of_unit("ActiveState") == "inactive")
    assert host.of_unit("Result") == "success" and host.shown(later).state == "pending"
    assert "no worker is here" in host.check(code=1)
    host.start()
    assert host.ends(later) == ("succeeded", None)


def test_a_run_that_takes_longer_is_ended_in_time(host: Host) -> None:
    """I8: it hears TERM and saves what it has; the run is lost, the service has ended well, and nothing is left."""
    host.start(Environment="SEALRUN_STOP_GRACE_SECONDS=1")
    run = host.submit("never")
    host.run("systemctl", "stop", UNIT)
    assert host.of_unit("Result") == "success"
    assert host.ends(run) == ("failed", "lost") and "saved" in host.said(run)
    assert host.shown(run).message == "its worker was stopped, and the run with it"
    assert host.run("pgrep", "-u", "sealrun", code=1) == ""


def test_killed_it_is_started_again(host: Host) -> None:
    """I8: nothing of it is left that the next one would meet; the run that it had is settled as lost."""
    host.start(RestartSec="0")
    run, first = host.submit("never"), host.of_unit("MainPID")
    before = host.run("pgrep", "-u", "sealrun").split()
    host.run("kill", "-9", first)
    host.eventually("systemd starts it", lambda: host.of_unit("NRestarts") == "1")
    host.eventually("it takes runs", lambda: "takes runs" in host.check(code=None))
    assert not set(before) & set(host.run("pgrep", "-u", "sealrun").split())
    assert host.ends(run) == ("failed", "lost")


def test_one_that_stands_still_is_started_again(host: Host) -> None:
    """By the watchdog: to systemd its process lives."""
    host.start(RestartSec="0", WatchdogSec="5")
    host.run("kill", "-STOP", host.of_unit("MainPID"))
    host.eventually("systemd starts it", lambda: host.of_unit("NRestarts") == "1")
    assert f"{UNIT}: Watchdog timeout" in host.journal()
    host.eventually("it takes runs", lambda: "takes runs" in host.check(code=None))


def test_its_control_group_is_its_own(host: Host) -> None:
    """`Delegate=yes`: its user's, in which it may make groups and is nobody's to be moved by."""
    host.start()
    group = f"/sys/fs/cgroup{host.of_unit('ControlGroup')}"

    assert host.run("stat", "-c", "%U", group, f"{group}/cgroup.procs").split() == ["sealrun", "sealrun"]
    host.run("runuser", "-u", "sealrun", "--", "sh", "-c", f"mkdir {group}/tried && rmdir {group}/tried")


@pytest.mark.parametrize("delegate", ["yes", "no"])
def test_a_delegated_group_is_used_and_another_is_left_alone(host: Host, delegate: str) -> None:
    """The worker in a leaf, runs beside it; with no controller where version 1 has them all."""
    uid, unit = host.run("id", "-u", "sealrun").strip(), f"tried-{delegate}"
    start = f"/opt/sealrun/bin/python /opt/sealrun/src/tests/delegated.py /sys/fs/cgroup {uid}"
    lines = ["[Service]", "Type=oneshot", "User=sealrun", f"Delegate={delegate}", f"StandardOutput=file:/srv/{unit}"]
    lines += ["Environment=PYTHONPATH=/opt/sealrun/src PYTHONDONTWRITEBYTECODE=1", f"ExecStart={start}"]
    host.write(f"/etc/systemd/system/{unit}.service", "\n".join(lines))
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", unit, code=None)
    shown = host.run("sh", "-c", f"cat /srv/{unit}; journalctl --no-pager -u {unit}")
    version, own, _, number, gone = json.loads(shown.splitlines()[0])
    assert own == f"/system.slice/tried-{delegate}.service"
    if delegate == "yes":
        assert (version, number, gone) == (2, signal.SIGKILL, True)
    else:
        assert version == 0


def test_a_machine_that_is_switched_off_ends_its_runs(host: Host) -> None:
    """As `systemctl stop` does: the row says it before the machine is gone. It is the last test of this machine."""
    host.start(Environment="SEALRUN_STOP_GRACE_SECONDS=1")
    run = host.submit("never")
    host.run("systemctl", "poweroff", code=None)
    eventually(host.is_off, 2 * PATIENCE, "it is off")
    view = host.shown(run)
    assert (view.state, view.reason) == ("failed", "lost") and "its worker was stopped" in str(view.message)
