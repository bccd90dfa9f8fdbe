"""docs/how-to/celery-tasks.md: its files as they stand, in workers that are started as it says."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor import Client
from executor.schemas.runs import RunView
from tests.documents import page
from tests.processes import eventually
from tests.rig import PATIENCE, Rig, Worker, rig

PAGE = "how-to/celery-tasks.md"
ROWS = len("postgresql://shop@db/shop")


def files() -> dict[str, str]:
    """The page's files: blocks of one path, one after another."""
    found: dict[str, str] = {}
    for section in page.read(PAGE):
        for path, content in section.files.items():
            found[path] = f"{found.get(path, '')}{content}\n\n"
    assert set(found) == {"jobs/load.py", "yours.py", "submit.py"}
    return found


class Team:
    """Somebody in the folder of `yours.py`."""

    def __init__(self, shop: Rig) -> None:
        self.shop = shop
        shop.queue = "sealrun"
        shop.project("shop", {"DATABASE_URL": b"postgresql://shop@db/shop"})
        for path, content in files().items():
            shop.job(content, path)
        self.environ = {
            **shop.environ,
            "PYTHONPATH": f"{shop.tree}{os.pathsep}{shop.jobs}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin:/bin",
        }
        self.client = Client("shop", settings={k: v for k, v in shop.environ.items() if k.startswith("SEALRUN_")})

    def celery(self, *words: str) -> Worker:
        """Start one of Celery's programs on `yours`."""
        log = self.shop.folder / f"celery-{words[0]}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "yours", *words],
                cwd=self.shop.jobs, env=self.environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        worker = Worker(process, log)
        self.shop.workers.append(worker)
        return worker

    def python(self, *words: str) -> str:
        """What a program prints that is started there."""
        ended = subprocess.run(
            [sys.executable, *words], cwd=self.shop.jobs, env=self.environ, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def call(self, *calls: str) -> None:
        """Send tasks as a web process would."""
        self.python("-c", f"import yours; {'; '.join(calls)}")

    def runs(self) -> list[RunView]:
        return list(self.client.list(limit=100))


@pytest.fixture
def team(redis_url: str) -> Iterator[Team]:
    with rig(broker=redis_url) as shop:
        yield Team(shop)


@pytest.mark.long
def test_every_way_in_one_worker_with_one_slot(team: Team) -> None:
    """Submitting, waiting as a message and what beat sends; a wait in the only slot is refused, and its run goes on."""
    worker = team.celery("worker", "-P", "threads", "-Q", "celery,sealrun", "-c", "1", "-l", "INFO")
    team.call(
        "yours.impatient.delay('2026-03-03')",
        "yours.report.delay('2026-03-02')",
        "yours.report.delay(day='2026-03-04')",
        "[yours.refresh.apply_async(['2026-03-01'], task_id='one') for _ in range(3)]",
        "[yours.app.send_task(yours.app.conf.beat_schedule['nightly']['task']) for _ in range(2)]",
    )
    eventually(lambda: worker.said().count(f": {ROWS} rows") == 2, PATIENCE, worker.said)
    eventually(lambda: all(one.over for one in team.runs()), PATIENCE, worker.said)
    found = team.runs()
    assert len(found) == 5 and {one.state for one in found} == {"succeeded"}, worker.said()
    said = worker.said()
    (refused,) = [line for line in said.splitlines() if line.startswith("executor.errors.WaitRefused: ")]
    assert refused.endswith("may need the slot that waits for it: this task's worker serves the run's queue, sealrun")
    assert "hint: let the task look again later, without a slot; docs/how-to/celery-tasks.md" in said
    assert "postgresql://" not in said


@pytest.mark.long
def test_every_way_in_workers_of_their_own(team: Team) -> None:
    """As it is recommended, with beat, and with a task that waits in a slot of its own worker."""
    for content in [team.shop.jobs / "yours.py"]:
        text = content.read_text().replace("from executor.celery_app import install\n\ninstall(app)\n", "")
        content.write_text(text.replace("crontab(hour=3, minute=0)", "0.2"))
    team.shop.start_worker(slots=1)
    worker = team.celery("worker", "-c", "2", "-l", "INFO")
    team.celery("beat", "-s", str(team.shop.folder / "schedule"))
    assert team.python("submit.py") == f"{{'day': '2026-03-01', 'rows': {ROWS}}}\n"
    team.call("yours.impatient.delay('2026-03-03')", "yours.report.delay('2026-03-02')", "yours.refresh.delay('x')")
    eventually(lambda: worker.said().count("yours.nightly") > 6, PATIENCE, worker.said)
    eventually(lambda: f"2026-03-02: {ROWS} rows" in worker.said(), PATIENCE, worker.said)
    eventually(lambda: all(one.over for one in team.runs()), PATIENCE, worker.said)
    assert len(team.runs()) == 5, worker.said()
    assert "WaitRefused" not in worker.said() and "yours.impatient" in worker.said()
