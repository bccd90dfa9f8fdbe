"""RQ: one worker process for each slot, which forks for each job. `pip install rq`."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import rq
from answering import PATIENCE, answer, asked, end, in_time, stored_way
from redis import Redis


def main() -> None:
    told = asked()
    connection = Redis.from_url(told["broker"])
    queue = rq.Queue(f"rq-{uuid.uuid4().hex[:12]}", connection=connection)
    command = [str(Path(sys.executable).with_name("rq")), "worker", "--url", told["broker"], "--quiet", queue.name]
    with open(Path(told["folder"], "rq.log"), "wb") as log:
        workers = [
            subprocess.Popen(
                [*command, "--name", f"{queue.name}-{number}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            for number in range(told["slots"])
        ]
    try:
        until = time.monotonic() + PATIENCE
        while len(rq.Worker.all(queue=queue)) < told["slots"]:
            in_time(until)
            time.sleep(0.05)
        one, burst = stored_way(told, lambda given: queue.enqueue("stored.run_job", args=given, result_ttl=0))
        answer(rq.VERSION, one, burst, [worker.pid for worker in workers])
    finally:
        end(workers)
        queue.delete(delete_jobs=True)


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    main()
