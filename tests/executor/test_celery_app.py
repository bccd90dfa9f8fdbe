"""The doorbell: a Celery application that can ring, and nothing else of what Celery offers."""

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import Celery, signals
from celery.concurrency import get_implementation
from celery.exceptions import SecurityWarning
from kombu import Connection, Exchange, Queue

from executor import celery_app
from executor.broker.doorbell import TASK
from executor.broker.listening import Listening
from executor.celery_app import Consumer, install, make_app
from executor.settings import QUEUE, Settings, read_settings
from executor.submission import submit
from secretstore.database import Database
from tests.executor.conftest import ROOT, Bench
from tests.rig import PATIENCE


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home of this test, and a broker that is never reached."""
    return read_settings({"SEALRUN_HOME": str(tmp_path / "home"), "SEALRUN_BROKER_URL": "redis://127.0.0.1:1/0"})


# Our own application ------------------------------------------------------------------------------


def test_what_celery_offers_beyond_ringing_is_off(settings: Settings) -> None:
    """No results, events or remote control; JSON alone; the broker's redeliveries decide nothing."""
    conf = make_app(settings).conf
    assert conf.broker_url == "redis://127.0.0.1:1/0"
    assert conf.result_backend is None and conf.task_ignore_result is True
    assert conf.task_store_errors_even_if_ignored is False
    assert conf.worker_enable_remote_control is False
    assert conf.worker_send_task_events is False and conf.task_send_sent_event is False
    assert conf.worker_disable_rate_limits is True
    assert conf.accept_content == ["json"] and conf.task_serializer == "json"
    assert conf.worker_hijack_root_logger is False and conf.worker_redirect_stdouts is False
    assert conf.worker_pool == "threads" and conf.worker_prefetch_multiplier == 1
    assert [queue.name for queue in conf.task_queues] == ["sealrun"] and conf.task_default_queue == "sealrun"
    options = conf.broker_transport_options
    assert options["confirm_publish"] is True and options["socket_keepalive"] is True
    assert options["unacked_restore_interval"] == 2 and options["unacked_restore_throttle"] == 1
    assert options["socket_timeout"] and options["health_check_interval"]


def test_ours_is_the_only_task(settings: Settings) -> None:
    """Anyone on the broker could call Celery's nine own ones."""
    app = make_app(settings)
    app.finalize()
    assert list(app.tasks) == [TASK]
    app.loader.import_default_modules()
    assert list(app.tasks) == [TASK]


def test_it_is_not_the_current_application(settings: Settings) -> None:
    """A team's own `current_app` stays theirs."""
    from celery import current_app

    assert current_app._get_current_object() is not make_app(settings)


def test_the_consumer_speaks_to_no_other_worker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mingle, gossip and heartbeats are off whatever the command line says."""
    app = make_app(settings)
    assert app.conf.worker_consumer == "executor.celery_app:Consumer"
    seen: dict[str, Any] = {}
    monkeypatch.setattr(Consumer.__mro__[1], "__init__", lambda self, *_, **given: seen.update(given))
    Consumer(worker_options={"without_mingle": False, "kept": 1})
    assert seen["worker_options"] == {
        "without_mingle": True,
        "without_gossip": True,
        "without_heartbeat": True,
        "kept": 1,
    }


SILENT = """
import signal, socket
from kombu.asynchronous import Hub
from executor.celery_app import wake_on_signals
signal.alarm(30)  # ends it where nothing else does
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
hub = Hub()
hub.call_later(3600, print)
hub.fire_timers = lambda **_: print("waiting", flush=True) or 3600
broker = socket.socketpair()
for _ in range(2):
    hub.reset()
    hub.add_reader(broker[0], print)
    wake_on_signals(hub)
    loop = hub.create_loop()
    while not told:
        next(loop)
    told.clear()
"""


def test_an_idle_worker_that_is_told_to_end_does_not_wait_for_its_broker() -> None:
    """A signal ends the wait of the event loop, also after it has connected anew. The wait here is of an hour."""
    with subprocess.Popen([sys.executable, "-c", SILENT], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            for _ in range(2):
                assert process.stdout.readline() == b"waiting\n"
                process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_importing_the_module_reads_no_settings() -> None:
    """`celery -A executor.celery_app` asks for `app`; whoever only imports it gets no problem with a setting."""
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "import executor.celery_app as module\n"
        "from secretstore.errors import SettingsProblem\n"
        "try: module.app\n"
        "except SettingsProblem: print('asked')\n"
        "import os; os.environ.pop('SEALRUN_LEASE_SECONDS')\n"
        "print(module.app is module.app is module.celery, module.app.main)\n"
        "try: module.nothing\n"
        "except AttributeError: print('none')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)],
        env={**os.environ, "SEALRUN_LEASE_SECONDS": "soon", "SEALRUN_BROKER_URL": "redis://127.0.0.1:1/0"},
        capture_output=True,
        text=True,
    )
    assert (ended.stdout, ended.stderr) == ("asked\nTrue sealrun\nnone\n", "")


# A team's application -----------------------------------------------------------------------------


def foreign(**conf: Any) -> Celery:
    app = Celery("team", broker="redis://127.0.0.1:1/5", set_as_current=False)
    app.conf.update(
        {"task_default_queue": "team", "worker_pool": "prefork", "worker_enable_remote_control": False, **conf}
    )

    @app.task(name="team.work", shared=False)
    def work() -> None: ...

    return app


def test_installing_leaves_a_teams_application_as_it_was(settings: Settings) -> None:
    """Its settings, queues and tasks, Celery's own among them; ours is one task and one route more."""
    app, before = foreign(task_serializer="yaml"), foreign(task_serializer="yaml")
    assert install(app, settings) is app
    before.finalize()
    app.finalize()
    assert set(app.tasks) == set(before.tasks) | {TASK}
    differ = {key for key, value in app.conf.items() if before.conf.get(key) != value}
    assert differ <= {"task_routes"}
    assert list(app.amqp.queues.consume_from) == ["team"]
    assert app.amqp.router.route({}, TASK)["queue"].name == "sealrun"
    assert app.amqp.router.route({}, "team.work")["queue"].name == "team"


class Router:
    """A team's own way to decide."""

    def __call__(self, name: str, *_: Any, **__: Any) -> dict[str, str]:
        return {"queue": "theirs"}


@pytest.mark.parametrize(
    "routes",
    [
        {"team.*": {"queue": "theirs"}, "*": {"queue": "theirs"}},
        [{"team.*": {"queue": "theirs"}}, Router()],
        (Router(),),
        Router(),
        "celery.utils.functional.noop",
    ],
    ids=["map", "list", "tuple", "callable", "path"],
)
def test_a_teams_routes_go_on_and_ours_comes_first(settings: Settings, routes: Any) -> None:
    """In every form Celery takes them, a catch-all among them."""
    app = install(foreign(task_routes=routes), settings)
    assert app.amqp.router.route({}, TASK)["queue"].name == "sealrun"
    theirs = "team" if routes == "celery.utils.functional.noop" else "theirs"
    assert app.amqp.router.route({}, "team.work")["queue"].name == theirs


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"accept_content": ["json", "pickle"]}, r"any code in the worker.* app.conf.accept_content = \['json'\]"),
        ({"accept_content": {"application/x-python-serialize"}}, "accept_content has pickle"),
        ({"result_accept_content": ["pickle"]}, "result_accept_content has pickle"),
        ({"task_serializer": "pickle"}, "task_serializer is pickle"),
        ({"result_serializer": "pickle"}, "result_serializer is pickle"),
        ({"event_serializer": "pickle"}, "event_serializer is pickle"),
        ({"worker_enable_remote_control": True}, "remote_control is on, .* stop a worker .*remote_control = False"),
    ],
)
def test_what_gives_a_broker_more_than_a_bell_is_told(settings: Settings, conf: dict[str, Any], told: str) -> None:
    """When it is installed, and again when its worker starts, as settings may come later; and not where it is off."""
    with pytest.warns(SecurityWarning, match=told) as heard:
        install(foreign(**conf), settings)
    assert len(heard) == 1 and heard[0].filename == __file__
    install(foreign(accept_content=["json", "yaml"], task_serializer="yaml"), settings)


class Starting:
    """What of a worker is looked at when it starts."""

    def __init__(self, app: Celery, pool: Any) -> None:
        self.app, self.pool_cls, self.consumer_cls = app, pool, "celery.worker.consumer:Consumer"


def test_a_worker_of_other_queues_is_none_of_ours(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a worker of this application that consumes our queue gets a zygote; of other pools it is refused."""
    import executor.worker.life

    made: list[Any] = []
    monkeypatch.setattr(
        executor.worker.life, "WorkerLife", lambda *given: made.append(given) or SimpleNamespace(prepare=lambda: None)
    )
    app, other = install(foreign(), settings), foreign()
    threads, solo = (get_implementation(name) for name in ("threads", "solo"))
    start = signals.worker_init.send
    start(sender=Starting(other, solo))
    start(sender=Starting(app, solo))
    assert made == []
    app.amqp.queues.select("sealrun")
    with pytest.raises(SystemExit, match=r"needs Celery's threads pool.*solo"):
        start(sender=Starting(app, solo))
    assert made == []
    app.conf.worker_enable_remote_control = True
    worker = Starting(app, threads)
    with pytest.warns(SecurityWarning, match="remote_control is on"):
        start(sender=worker)
    assert len(made) == 1
    assert worker.consumer_cls.__mro__[1] is Listening and worker.consumer_cls.ours == ["sealrun"]


@pytest.mark.long
def test_a_worker_with_another_pool_ends_with_a_sentence(tmp_path: Path, redis_url: str) -> None:
    """Before it has claimed anything; the same command that works with threads."""
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "executor.celery_app", "worker", "-P", "solo", "-l", "ERROR"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SEALRUN_HOME": str(tmp_path / "home"),
            "SEALRUN_BROKER_URL": redis_url,
            "C_FORCE_ROOT": "1",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode != 0 and time.monotonic() - started < 30
    assert "sealrun's task needs Celery's threads pool" in ended.stderr
    assert "-P threads -Q sealrun" in ended.stderr


# Ringing ------------------------------------------------------------------------------------------


@pytest.fixture
def ringing(tmp_path: Path, redis_url: str) -> Celery:
    """Our application on a real broker."""
    return make_app(read_settings({"SEALRUN_HOME": str(tmp_path / "home"), "SEALRUN_BROKER_URL": redis_url}))


def heard(url: str) -> list[dict[str, Any]]:
    """Every message in our queue, as it lies in the broker."""
    import redis

    with redis.Redis.from_url(url) as client:
        return [json.loads(raw) for raw in client.lrange(QUEUE, 0, -1)]


@pytest.mark.parametrize("whose", ["ours", "a team's"])
def test_a_message_carries_a_run_id_and_nothing_else(
    ringing: Celery, redis_url: str, sqlite_db: Database, bench: Bench, whose: str, settings: Settings
) -> None:
    """I1: not the target, not a variable, not a name; in JSON whatever a team's application speaks."""
    app = ringing
    if whose == "a team's":
        with pytest.warns(SecurityWarning, match="task_serializer is pickle"):
            app = install(foreign(task_serializer="pickle", task_send_sent_event=True), settings)
        app.conf.broker_url = redis_url
    spec = bench.spec(target={"kind": "command", "argv": ["argv-canary"]}, variables={"NAME": "variable-canary"})
    submitted = submit.submit(sqlite_db, app, spec, "ada@here")
    assert submitted.rung
    (message,) = heard(redis_url)
    body = json.loads(base64.b64decode(message["body"]))
    quiet = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    assert body == [[submitted.run_id], {}, quiet]
    assert message["content-type"] == "application/json"
    assert message["headers"]["task"] == TASK and message["headers"]["ignore_result"] is True
    text = json.dumps(message)
    assert not any(word in text for word in ("canary", "/srv/shop", "shop", "ada@here"))
    import redis

    with redis.Redis.from_url(redis_url) as client:
        keys = {key.decode() for key in client.scan_iter()}
    assert not any("result" in key or "celery-task-meta" in key for key in keys)


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1/0",
        "amqp://guest:guest@127.0.0.1:1//",
        "redis+socket:///nowhere/x",
        pytest.param("amqp://guest:wrong@AMQP//", id="a wrong password"),
        pytest.param("amqp://guest:guest@AMQP/nowhere", id="an unknown virtual host"),
        pytest.param("redis://REDIS/99999", id="an unknown database"),
    ],
)
def test_a_bell_that_does_not_ring_is_not_a_failed_submit(
    tmp_path: Path, sqlite_db: Database, bench: Bench, url: str, request: pytest.FixtureRequest
) -> None:
    """The row is committed; workers look for such runs themselves; and the submitter is not kept waiting."""
    for word in ("AMQP", "REDIS"):
        if word in url:
            server = urlsplit(request.getfixturevalue(f"{word.lower()}_url"))
            url = url.replace(word, f"{server.hostname}:{server.port}")
    app = make_app(read_settings({"SEALRUN_HOME": str(tmp_path / "home"), "SEALRUN_BROKER_URL": url}))
    started = time.monotonic()
    submitted = submit.submit(sqlite_db, app, bench.spec(), "ada@here")
    assert not submitted.rung and time.monotonic() - started < 10
    from executor import runs

    assert runs.unclaimed(sqlite_db, bench.offer, 0, 9)


def test_our_queue_is_declared_as_celery_would(ringing: Celery) -> None:
    """So that `celery -Q sealrun` of a team and our own worker agree about it."""
    (queue,) = ringing.conf.task_queues
    assert isinstance(queue, Queue) and queue.durable is not False
    assert queue.exchange == Exchange("") or queue.exchange.name in ("", "sealrun")
    with Connection(ringing.conf.broker_url) as connection:
        assert connection.transport.driver_type == "redis"


def test_what_a_worker_did_not_foresee_ends_it_without_its_text() -> None:
    """I10: the words of a foreign exception may hold a broker's or a database's password; its kind and place do not."""
    with pytest.raises(SystemExit) as end, celery_app._fatal():
        raise ConnectionError("redis://:hunter2-prod-key@broker")
    said = str(end.value)
    assert "hunter2" not in said
    assert "ConnectionError in test_celery_app.py, line " in said
    assert end.value.__cause__ is None and end.value.__suppress_context__
