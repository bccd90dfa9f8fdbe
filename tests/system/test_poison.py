"""No message on the broker ends a worker: each that is no bell is dropped, counted and told once."""

import json
from collections.abc import Iterator, Sequence

import amqp
import pytest
import redis
from celery import Celery
from kombu.utils.url import parse_url

from executor.broker.doorbell import TASK
from tests.processes import eventually
from tests.rig import PATIENCE, Rig, Worker, command, rig
from tests.system.poison import CANARY, MESSAGES, NESTED, Message, envelope, envelopes, frames

DROPPED = "dropped a message from "
RETURNED = "returned"
"""The task's id in a message that a worker took and did not acknowledge."""


class Broker:
    """Puts what it is given into a rig's queue as it is, past kombu and Celery."""

    def __init__(self, shop: Rig) -> None:
        self.queue = shop.queue
        self.pushed: list[str] = []

    def push(self, name: str, one: Message) -> None:
        raise NotImplementedError

    def left(self) -> int:
        """How many messages are in the queue, or with a worker."""
        raise NotImplementedError

    def wait_for_a_start(self) -> int:
        """Put into the broker what only a worker that starts looks through; returns how much of it is to be dropped."""
        return 0


class Redis(Broker):
    def __init__(self, shop: Rig) -> None:
        super().__init__(shop)
        self.client = redis.Redis.from_url(str(shop.settings.broker_url))

    def push(self, name: str, one: Message) -> None:
        self.push_raw(name, envelope(one, self.queue))

    def push_raw(self, name: str, raw: bytes) -> None:
        self.client.lpush(self.queue, raw)
        self.pushed.append(name)

    @property
    def keys(self) -> list[str]:
        """Keys that kombu looks for, each of a type of its own."""
        return [self.queue, f"{self.queue}\x06\x166", "unacked", "unacked_index", f"_kombu.binding.{self.queue}"]

    def spoil(self, keys: Sequence[str]) -> None:
        """Put a string in the place of each."""
        with self.client.pipeline() as pipe:
            for key in keys:
                pipe.delete(key).set(key, CANARY)
            pipe.execute()

    def spoilt(self) -> bool:
        """Whether one is a string still, or was lost: it is somebody's, under whatever name."""
        kept = [key for key in self.client.scan_iter("*.string-*") if self.client.get(key) == CANARY.encode()]
        return len(kept) < len(self.keys) or b"string" in map(self.client.type, self.keys)

    def wait_for_a_start(self) -> int:
        """Keys of another type, what a worker took and cannot be given back, and a bell that can, and that once."""
        self.spoil([key for key in self.keys if "unacked" not in key])
        headers = {"task": TASK, "id": RETURNED}
        bell = json.loads(envelope(Message(headers=headers), self.queue))
        lost: list[str | bytes] = [CANARY, "null", "[]", "[1, 2]", NESTED, b"\xff\xfe"]
        lost += map(json.dumps, ([None, "", self.queue], [{}, "", self.queue], [bell, None, "x"], [bell, "", ["x"]]))
        lost.append(json.dumps([bell, "", self.keys[-1]]))  # not a list either, and none of the worker's
        for wrong in ({"headers": 7}, {"properties": {}}, {"body": None}):
            lost.append(json.dumps([{**bell, **wrong}, "", self.queue]))
        with self.client.pipeline() as pipe:
            for number, one in enumerate([*lost, json.dumps([bell, "", self.queue])]):
                pipe.hset("unacked", f"tag-{number}", one).zadd("unacked_index", {f"tag-{number}": 1})
            pipe.zadd("unacked_index", {"tag of nothing": 1})
            pipe.execute()
        return len(lost)

    def left(self) -> int:
        lists = [self.queue, *(f"{self.queue}\x06\x16{step}" for step in (3, 6, 9))]
        # What is with a worker stands in one place for all queues, those of other tests included.
        taken = [one for one in self.client.hvals("unacked") if self.queue.encode() in one]
        return sum(map(self.client.llen, lists)) + len(taken)


class Rabbit(Broker):
    def __init__(self, shop: Rig) -> None:
        super().__init__(shop)
        at = parse_url(str(shop.settings.broker_url))
        self.connection = amqp.Connection(
            f"{at['hostname']}:{at['port'] or 5672}",
            at["userid"] or "guest",
            at["password"] or "guest",
            virtual_host=at["virtual_host"] or "/",
        )
        self.connection.connect()
        self.channel = self.connection.channel()

    def push(self, name: str, one: Message) -> None:
        given = {"content_type": one.content_type, "content_encoding": one.encoding, "application_headers": one.headers}
        self._publish(
            name, amqp.Message(one.body, **{k: v for k, v in given.items() if v is not None}, **one.properties)
        )

    def push_raw(self, name: str, properties: bytes, body: bytes) -> None:
        message = amqp.Message(body)
        message._serialize_properties = lambda: properties
        self._publish(name, message)

    def _publish(self, name: str, message: amqp.Message) -> None:
        self.channel.basic_publish_confirm(message, routing_key=self.queue)
        self.pushed.append(name)

    def left(self) -> int:
        return int(self.channel.queue_declare(self.queue, passive=True).message_count)


Line = tuple[Rig, Broker]


@pytest.fixture(scope="module", params=["redis", pytest.param("amqp", marks=pytest.mark.long)])
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    """One worker for the whole table, on each kind of broker."""
    server, kind = {"redis": ("redis_database", Redis), "amqp": ("amqp_server", Rabbit)}[request.param]
    with rig(broker=request.getfixturevalue(server)) as shop:
        shop.project("shop")
        shop.start_worker(slots=1)
        yield shop, kind(shop)


def told(worker: Worker) -> list[str]:
    return [line for line in worker.said().splitlines() if DROPPED in line]


def all_taken(worker: Worker, broker: Broker, expected: int) -> None:
    """Wait until a worker has dropped so many messages; it, or what it says, shows where it stopped."""

    def look() -> bool:
        assert worker.process.poll() is None, f"ended by {broker.pushed[len(told(worker))]}:\n{worker.said()[-4000:]}"
        return len(told(worker)) >= expected and broker.left() == 0

    eventually(look, PATIENCE, lambda: f"{len(told(worker))} of {expected} are dropped\n{worker.said()[-4000:]}")


def works(shop: Rig) -> None:
    """A normal run is executed."""
    assert shop.run(command("echo", "well")).stdout == "well\n"


def test_no_message_ends_a_worker(line: Line) -> None:
    """I7: every member of the table is dropped, told once with queue, fault and size, and never met again."""
    shop, broker = line
    (worker,) = shop.workers
    for name, one in MESSAGES.items():
        broker.push(name, one)
    if isinstance(broker, Redis):
        for name, raw in envelopes(shop.queue):
            broker.push_raw(name, raw)
    else:
        for name, properties, body in frames():
            broker.push_raw(name, properties, body)
    all_taken(worker, broker, len(broker.pushed))
    works(shop)
    lines = told(worker)
    assert len(lines) == len(broker.pushed)
    assert all(f"from {shop.queue}: " in line and " byte" in line and len(line) < 300 for line in lines)
    assert lines[-1].endswith(f"({len(lines)} so far)")
    said = worker.said()
    assert CANARY not in said and "Traceback" not in said and "\x1b" not in said


@pytest.mark.parametrize("line", ["redis"], indirect=True)
def test_no_key_of_redis_ends_a_worker(line: Line) -> None:
    """I7: a key of another type in the place of a list or a hash is moved aside, with whatever it holds."""
    shop, broker = line
    assert isinstance(broker, Redis)
    (worker,) = shop.workers
    broker.spoil(broker.keys)
    eventually(lambda: not broker.spoilt(), PATIENCE, worker.said)
    works(shop)
    assert worker.said().count("is called") == len(broker.keys) and CANARY not in worker.said()


def test_a_worker_that_is_started_meets_nothing_again(line: Line) -> None:
    """I7: nothing of it stayed in the broker; what lies there by the next start is dealt with once, too."""
    shop, broker = line
    (worker,) = shop.workers
    worker.end()
    assert worker.process.returncode == 0, worker.said()[-4000:]
    expected = broker.wait_for_a_start()
    again = shop.start_worker(slots=1)
    works(shop)
    all_taken(again, broker, expected)
    assert len(told(again)) == expected
    assert again.said().count(f"{TASK}[{RETURNED}] received") == (expected > 0)
    assert CANARY not in again.said() and "Traceback" not in again.said()


TEAM = """
import sys
from celery import Celery
from executor.celery_app import install

app = Celery("team", broker=BROKER)
app.conf.task_routes = {"team.*": {"queue": "theirs"}}
install(app)

@app.task(name="team.say", ignore_result=True)
def say(word):
    print("said " + word, flush=True)

if __name__ == "__main__":
    words = ["team" if word == "executor.celery_app" else word for word in sys.argv[3:]]
    app.worker_main(words[2:])
"""


@pytest.mark.long
def test_no_message_ends_a_worker_of_a_team(redis_url: str) -> None:
    """Nor in its own queues, its remote control and its events; what it sends to itself still arrives."""
    with rig(broker=redis_url) as shop:
        shop.project("shop")
        program = shop.folder / "team.py"
        program.write_text(TEAM.replace("BROKER", repr(redis_url)))
        shop.queue = "sealrun,theirs"
        worker = shop.start_worker(launcher=[str(program)], slots=1)
        shop.queue = "sealrun"
        broker = Redis(shop)
        for name, one in MESSAGES.items():
            broker.push(name, one)
        for name, raw in envelopes(shop.queue):
            broker.push_raw(name, raw)
        all_taken(worker, broker, len(broker.pushed))
        assert len(told(worker)) == len(broker.pushed)
        database = redis_url.rpartition("/")[2]
        for topic in (f"/{database}.celery.pidbox", f"/{database}.celeryev/worker.online", f"/{database}.celeryev/x"):
            for _, raw in envelopes(topic):
                broker.client.publish(topic, raw)
            for one in MESSAGES.values():
                broker.client.publish(topic, envelope(one, topic))
        for one in MESSAGES.values():
            broker.client.lpush("theirs", envelope(one, "theirs"))
        for _, raw in envelopes("theirs"):
            broker.client.lpush("theirs", raw)
        with Celery("team", broker=redis_url, set_as_current=False) as team:
            team.send_task("team.say", ["hello"], queue="theirs")
        eventually(lambda: "said hello" in worker.said(), PATIENCE, worker.said)
        works(shop)
        assert worker.process.poll() is None and broker.client.llen("theirs") == 0
