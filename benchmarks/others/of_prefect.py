"""Prefect: its server, and a process that serves a flow and starts each run as a process. `pip install prefect`."""

import os
import subprocess
import sys
from pathlib import Path

from answering import answer, answers, asked, end, free_port, start, stored_way, until

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
    folder, port = Path(told["folder"]), free_port()
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
        started.append(start(server, folder / "server.log"))
        until(lambda: answers(f"{url}/health"))
        started.append(start([sys.executable, "bench_flow.py", str(told["slots"])], folder / "serve.log"))

        import prefect
        from prefect.client.orchestration import get_client
        from prefect.deployments import run_deployment

        with get_client(sync_client=True) as client:
            until(lambda: bool(client.read_deployments()))
        names = ("number", "python", "job", "values")

        def submit(given: list[object]) -> object:
            return run_deployment("bench/bench", parameters=dict(zip(names, given, strict=True)), timeout=0)

        one, burst = stored_way(told, submit)
        answer(prefect.__version__, one, burst, [process.pid for process in started])
    finally:
        end(started)


if __name__ == "__main__":
    main()
