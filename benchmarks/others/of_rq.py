"""RQ: one worker process for each slot, which forks for each job. `pip install rq`."""

import sys
import uuid
from pathlib import Path

import rq
from answering import answer, asked, end, start, stored_way, until
from redis import Redis


def main() -> None:
    told = asked()
    connection = Redis.from_url(told["broker"])
    queue = rq.Queue(f"rq-{uuid.uuid4().hex[:12]}", connection=connection)
    command = [str(Path(sys.executable).with_name("rq")), "worker", "--url", told["broker"], "--quiet", queue.name]
    workers = [
        start([*command, "--name", f"{queue.name}-{number}"], Path(told["folder"], f"rq-{number}.log"))
        for number in range(told["slots"])
    ]
    try:
        until(lambda: len(rq.Worker.all(queue=queue)) == told["slots"])
        one, burst = stored_way(told, lambda given: queue.enqueue("stored.run_job", args=given, result_ttl=0))
        answer(rq.VERSION, one, burst, [worker.pid for worker in workers])
    finally:
        end(workers)
        queue.delete(delete_jobs=True)


if __name__ == "__main__":
    main()
