"""Dagster: its daemon, webserver and code server; each run is a process. `pip install dagster dagster-webserver`."""

import os
import subprocess
import sys
from pathlib import Path

from answering import answer, answers, asked, end, free_port, start, stored_way, until

CODE = """
from dagster import Config, Definitions, in_process_executor, job, op
from stored import run_job

class Given(Config):
    number: str
    python: str
    job: str
    values: dict[str, str]

@op
def work(config: Given) -> None:
    run_job(config.number, config.python, config.job, config.values)

@job(executor_def=in_process_executor)
def bench():
    work()

defs = Definitions(jobs=[bench])
"""
INSTANCE = """
telemetry:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: {slots}
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
"""


def main() -> None:
    told = asked()
    folder, port = Path(told["folder"]), free_port()
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(INSTANCE.format(slots=told["slots"]))
    (folder / "bench_jobs.py").write_text(CODE)
    os.environ |= {"DAGSTER_HOME": str(home), "DO_NOT_TRACK": "1"}
    words = ["dev", "--host", "127.0.0.1", "--port", str(port), "--python-file", "bench_jobs.py"]
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(start([sys.executable, "-m", "dagster", *words], folder / "dagster.log"))
        until(lambda: answers(f"http://127.0.0.1:{port}/server_info"))

        import dagster
        from dagster_graphql import DagsterGraphQLClient

        client = DagsterGraphQLClient("127.0.0.1", port_number=port)
        names = ("number", "python", "job", "values")

        def submit(given: list[object]) -> object:
            config = dict(zip(names, given, strict=True))
            return client.submit_job_execution("bench", run_config={"ops": {"work": {"config": config}}})

        one, burst = stored_way(told, submit)
        answer(dagster.__version__, one, burst, [process.pid for process in started])
    finally:
        end(started)


if __name__ == "__main__":
    main()
