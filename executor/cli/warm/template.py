"""The process that waits for commands: it imports what they need, and forks one child for each.

It is started with an environment of its own and holds nothing of any command: no settings, no connection, no thread, no
credential. It ends when nobody has come for a while, when the code on disk is another one, and when its socket is gone,
by which anybody ends it.
"""

import gc
import importlib
import importlib.util
import os
import sys
import time

from executor.cli.warm import circumstances, place, wire

_EVERY_TIME = (
    "executor.cli.main", "executor.cli.run", "executor.cli.runs", "executor.cli.shown.ending",
    "executor.cli.shown.waiting", "executor.cli.typed.env_file", "executor.broker.application", "kombu.transport.redis",
    "celery.app.amqp", "celery.fixups.django", "celery.loaders.app", "celery.worker.worker", "redis",
    "sqlalchemy.dialects.sqlite.pysqlite",
)  # fmt: skip
_FOR_POSTGRESQL = ("psycopg", "sqlalchemy.dialects.postgresql.psycopg")


def main() -> None:
    """Serve until nobody needs it; `leaving` writes to stdin what for."""
    began = time.time()
    (lock, seconds, home), interpreter, path = wire.unpack(sys.stdin.buffer.read())
    os.dup2(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), 0)
    sys.path[:] = map(os.fsdecode, path)
    gc.disable()
    _import_all()
    from executor.cli.warm.installed import Installed
    from executor.cli.warm.serving import Template  # only now that the path is the command's

    installed = Installed(began)
    gc.freeze()
    try:
        with place.opened(os.fsdecode(home)) as folder:
            facts = [*interpreter, *circumstances.of_process()]
            Template(folder, facts, int(lock), installed).serve(float(seconds))
    except (OSError, place.Closed):
        return  # the folder is gone


def _import_all() -> None:
    for module in _EVERY_TIME:
        importlib.import_module(module)
    if importlib.util.find_spec("psycopg") is not None:
        for module in _FOR_POSTGRESQL:
            importlib.import_module(module)
    # What libraries do at their first use.
    from sqlalchemy.orm import configure_mappers

    from executor.cli.lazy import load

    configure_mappers()
    for noun, words in (("run", ["--", "true"]), ("runs", ["list"])):
        load(noun).make_context(noun, words)
