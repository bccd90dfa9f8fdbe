"""A worker that comes to PostgreSQL as the role that `migrate --grants` made for it: its runs lack nothing."""

import json
import secrets

import pytest
from sqlalchemy import make_url

from executor import grants
from executor.jobs import claims, reading
from secretstore import audit, vault
from tests.databases import driver
from tests.processes import eventually
from tests.rig import ACTOR, PATIENCE, command, file, function, rig

KEYS = {"aws_access_key_id": "AKIALAKE0000EXAMPLE1", "aws_secret_access_key": "lake+secret/key-4711-9f3b7c"}
LEAVES = """
import json, os
print(len(os.environ["API_KEY"]))
open(os.path.join(os.environ["SEALRUN_OUTPUT_DIR"], "left.txt"), "w").write("left")
with open(os.environ["SEALRUN_METRICS"], "a") as metrics:
    metrics.write(json.dumps({"name": "rows", "value": 3}) + chr(10))
"""


@pytest.mark.long
def test_all_of_a_run_goes_through(postgres_url: str) -> None:
    """Claim, gate, receipt, output, files, metrics, result, retry, what was masked, cancellation, events."""
    mark = secrets.token_hex(4)
    named = {part: f"test-{mark}-{part}" for part in grants.ROLES}
    user = f"test-{mark}-user"
    with rig(database=postgres_url) as shop:
        grants.grant(shop.db, named)
        try:
            shop.execute(f'CREATE USER "{user}" PASSWORD \'only-for-a-test\' IN ROLE "{named["worker"]}"')
            at = make_url(driver(postgres_url)).set(username=user, password="only-for-a-test")
            shop.project("shop", {"API_KEY": b"hunter2-prod-key-5417", "LAKE": json.dumps(KEYS).encode()}, {"A": "1"})
            lake = {"bucket": "raw", "credentials": {"$secret": "LAKE"}}
            vault.create_connection(shop.db, "shop", "default", "source", "lake", "s3", lake, actor=ACTOR)
            url = at.render_as_string(hide_password=False)
            shop.start_worker(environ={"SEALRUN_DATABASE_URL": url})
            ended = shop.run(file(shop.job(LEAVES)), **shop.uploaded())
            assert ended.how == ("succeeded", None, 0), shop.told(ended.view.id)
            assert [one.path for one in ended.view.outputs] == ["left.txt"]
            assert ended.view.receipt is not None and ended.view.receipt.status == "closed"
            shown = shop.run(command("sh", "-c", 'echo "$API_KEY"'))
            assert shown.stdout == "***\n" and len(shown.view.masked) == 1
            path = shop.job("def answer(): return {'a': 1}\n", "answers.py")
            assert shop.run(function(path, "answer")).view.result == {"a": 1}
            again = shop.run(command("sh", "-c", "exit 3"), retries=1, retry_on=["exit_code"])
            assert (again.how, again.view.attempt) == (("failed", "exit_code", 3), 2)
            place = vault.get_environment(shop.db, "shop", "default")
            job = claims.submit(shop.db, "rotate", place, {"drop_broken": False}, actor=ACTOR)
            eventually(lambda: reading.show(shop.db, "shop", job).finished_at, PATIENCE, "the job is done")
            assert reading.show(shop.db, "shop", job).state == "succeeded", reading.show(shop.db, "shop", job)
            (worker,) = shop.workers
            assert "permission denied" not in worker.said() and "Traceback" not in worker.said(), worker.said()
            worker.end()
            assert worker.process.returncode == 0
            assert audit.waiting_events(shop.db) == 0
        finally:
            for name in (user, *named.values()):
                shop.execute(f'DROP OWNED BY "{name}"')
                shop.execute(f'DROP ROLE "{name}"')
