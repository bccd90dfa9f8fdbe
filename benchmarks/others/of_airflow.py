"""Airflow 3: `airflow standalone` with a LocalExecutor, asked over its REST API. `pip install apache-airflow`."""

import importlib.metadata
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from answering import answer, answers, asked, end, free_port, start, stored_way, until

DAG = """
from airflow.sdk import dag, task

@dag(dag_id="bench", schedule=None, is_paused_upon_creation=False, max_active_runs=16)
def bench():
    @task
    def work(dag_run=None):
        from stored import run_job
        run_job(*dag_run.conf["given"])
    work()

bench()
"""


def main() -> None:
    told = asked()
    folder, port = Path(told["folder"]), free_port()
    home = folder / "home"
    (home / "dags").mkdir(parents=True)
    (home / "dags/bench.py").write_text(DAG)
    url = f"http://127.0.0.1:{port}"
    os.environ |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": str(told["slots"]),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    }
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(start([sys.executable, "-m", "airflow", "standalone"], folder / "airflow.log"))
        until(lambda: answers(f"{url}/api/v2/monitor/health"))
        token = {"Authorization": f"Bearer {_asked(f'{url}/auth/token')['access_token']}"}
        dags = f"{url}/api/v2/dags"
        until(lambda: any(dag["dag_id"] == "bench" for dag in _asked(dags, token)["dags"]))

        def submit(given: list[object]) -> object:
            return _asked(f"{dags}/bench/dagRuns", token, {"logical_date": None, "conf": {"given": given}})

        one, burst = stored_way(told, submit)
        answer(importlib.metadata.version("apache-airflow"), one, burst, [process.pid for process in started])
    finally:
        end(started)


def _asked(url: str, headers: Mapping[str, str] = MappingProxyType({}), body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answered:
        return json.load(answered)


if __name__ == "__main__":
    main()
