"""Prefect: its server, and a process that serves a flow and starts each run as a process. `pip install prefect`."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from answering import PATIENCE, answer, asked, end, in_time, stored_way

FLOW = """
import sys
from prefect import flow
from stored import run_job

@flow(name="bench", retries=0)
def bench(number: str, python: str, job: str, values: dict):
    run_job(number, python, job, values)

if __name__ == "__main__":
    bench.serve(name="bench", limit=int(sys.argv[1]), print_starting_message=False)
"""


def main() -> None:
    told = asked()
    folder, port = Path(told["folder"]), _free_port()
    url = f"http://127.0.0.1:{port}/api"
    os.environ |= {
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "DO_NOT_TRACK": "1",
    }
    (folder / "bench_flow.py").write_text(FLOW)
    started: list[subprocess.Popen[bytes]] = []
    try:
        server = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        started.append(_start(server, folder / "server.log"))
        _until(lambda: _answers(f"{url}/health"))
        started.append(_start([sys.executable, "bench_flow.py", str(told["slots"])], folder / "serve.log"))

        import prefect
        from prefect.client.orchestration import get_client
        from prefect.deployments import run_deployment

        with get_client(sync_client=True) as client:
            _until(lambda: bool(client.read_deployments()))
        names = ("number", "python", "job", "values")

        def submit(given: list[object]) -> object:
            return run_deployment("bench/bench", parameters=dict(zip(names, given, strict=True)), timeout=0)

        one, burst = stored_way(told, submit)
        answer(prefect.__version__, one, burst, [process.pid for process in started])
    finally:
        end(started)


def _start(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as out:
        return subprocess.Popen(command, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def _until(condition: object) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        in_time(until)
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer_:
            return bool(answer_.status == 200)
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


if __name__ == "__main__":
    main()
