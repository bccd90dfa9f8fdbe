"""A run's own Python: an interpreter, or an environment that is built before the gate and kept for the next run.

`uv` resolves and installs, in a step of its own (`installation`). What it built is found again by a digest of what was
asked for, the interpreter, the platform and the indexes: then it costs a run a look into the cache.
"""

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from executor.errors import EnvironmentNotBuilt
from executor.models import Run
from executor.python.interpreters import Interpreter
from executor.python.layout import interpreter_paths
from executor.python.machine_setup import SYSTEM_CONFIGURATION
from executor.sandbox import handover
from executor.worker import python_cache
from executor.worker.equipment import Equipment
from executor.worker.installation import Order, Setup, installed
from executor.worker.lease import LeaseKeeper
from executor.worker.python_cache import Environments, python_in

_FORM = 1  # of what is built; another number builds everything anew
# Beside those that begin with UV_: the environment's plain variables that say how an index is reached.
_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class RunsPython:
    """The interpreter of an attempt. `packages` is for its record, `output` the last number of its setup's output."""

    path: str | None
    packages: dict[str, Any] | None = None
    output: int = 0
    parts: tuple[Path, ...] | None = None
    """What it consists of, where that is known; it is looked for otherwise."""


@contextlib.contextmanager
def python_of(worker: Equipment, run: Run, keeper: LeaseKeeper) -> Iterator[RunsPython]:
    """Choose the run's interpreter, and build its environment where it asks for one; held as long as the context lasts.

    Raises:
        SealrunError: it is not to be had.
        SupervisorLost: the installer's supervisor was lost.
        GateShut: the run was cancelled meanwhile.
        StaleToken: a later claim has taken the run over.
    """
    if run.requirements is not None:
        with _environment(worker, run, keeper) as built:
            yield built
    elif run.python is not None:
        yield RunsPython(run.python)
    elif (
        run.target["kind"] == "command"
        and run.python_version is None
        and (run.bundle is None or not worker.pythons.found)
    ):
        yield RunsPython(None)
    else:
        chosen = worker.pythons.choose(run.python_version, run.requirements)
        yield RunsPython(str(chosen.path), {"python": chosen.version})


@contextlib.contextmanager
def _environment(worker: Equipment, run: Run, keeper: LeaseKeeper) -> Iterator[RunsPython]:
    began = time.monotonic()
    order = _order(worker, run)
    shelf = Environments(worker.settings.cache, run.project_id, run.environment_id)
    setup = Setup(worker, run, keeper)
    with contextlib.ExitStack() as holding:
        entry = holding.enter_context(shelf.found(order.request, pinned=order.pinned))
        cached = entry is not None
        if entry is None:
            entry = holding.enter_context(shelf.entries.held(_asked(setup, shelf, order)))
        if entry is None:
            raise EnvironmentNotBuilt(why="it was removed in the moment it was ready")
        packages = {
            "environment": entry.facts["digest"],
            "lock": entry.facts["lock"],
            "python": order.interpreter.version,
            "cached": cached,
            "seconds": round(time.monotonic() - began, 3),
        }
        parts = _parts(python_in(entry), order.interpreter)
        yield RunsPython(str(python_in(entry)), packages, setup.output, parts)


@lru_cache(maxsize=1024)
def _parts(python: Path, interpreter: Interpreter) -> tuple[Path, ...]:
    """What an environment consists of, which neither changes nor has its name given to another.

    A build wrote what leads from it to its interpreter, and could name anything: another's environment, for one. So of
    that no more counts than what is of the interpreter that it was built for; links open nothing.
    """
    its_own = interpreter_paths(str(interpreter.path))[1]
    env = Path(os.path.realpath(python.parent.parent))
    named = interpreter_paths(str(python))[1]
    found = [part for part in named if part.is_relative_to(env) or part.is_symlink()]
    return tuple(dict.fromkeys((*found, *its_own)))


def _order(worker: Equipment, run: Run) -> Order:
    document: dict[str, Any] = run.requirements or {}
    interpreter = worker.pythons.choose(run.python_version, document)
    with worker.db.looking() as transaction:
        configured = worker.doors.ask_variables(transaction, run)()
    variables = {
        name: value
        for name, value in (configured | run.variables).items()
        if name.startswith("UV_") or name.upper() in _VARIABLES
    }
    index = {
        "variables": variables,
        "default": worker.settings.package_index,
        "system": [_digest(_text(file)) for file in SYSTEM_CONFIGURATION],
        "machine": worker.machine.identity,
    }
    # A digest, since it is told to processes whose arguments everybody on this machine can read.
    seed = _digest(_json([_FORM, str(interpreter.path), interpreter.version, _platform(), index]))
    return Order(
        request=_digest(seed + _json([document, run.setup_secret_names])),
        seed=seed,
        pinned=document["kind"] == "uv.lock" and not document["with"],
        document=document,
        interpreter=interpreter,
        variables=variables,
    )


def _asked(setup: Setup, shelf: Environments, order: Order) -> str:
    """The name of the environment: built here, or by another run that asks for the same at this moment."""
    shelf.prepare()
    with shelf.asking(order.request) as our_turn:
        if not our_turn():
            setup.say("waiting for the environment that another run builds")
            setup.keeper.wait(our_turn)
        with shelf.found(order.request, pinned=order.pinned) as entry:
            if entry is not None:
                return entry.path.name
        name = _built(setup, shelf, order)
        shelf.remember(order.request, name)
    settings = setup.worker.settings
    python_cache.prune(settings.cache, settings.cache_bytes)
    return name


def _built(setup: Setup, shelf: Environments, order: Order) -> str:
    """The name of an environment that is built now, or of one that has just the lock that was resolved now."""
    setup.say(f"building an environment of Python {order.interpreter.version}")
    known = shelf.known()
    with shelf.new() as draft, shelf.uv_cache() as uv_cache:
        with installed(setup, order, draft, uv_cache, known):
            taking = handover.take(draft, order.seed, uv_cache)
            setup.keeper.wait(lambda: taking.poll() is not None)
        found = handover.taken(taking)
        if found is None:
            raise EnvironmentNotBuilt(why="what was built holds something that is no file, folder or link")
        if (name := known.get(found["digest"])) is not None:
            return name
        if not found["built"]:
            raise EnvironmentNotBuilt(why="there is no interpreter in what was built")
        facts = {name: found[name] for name in ("digest", "lock", "bytes")}
        python_cache.complete(draft, facts, uv_cache, found["uv_bytes"])
        return draft.name


@cache
def _platform() -> str:
    return " ".join((platform.system(), platform.machine(), *platform.libc_ver()))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _json(document: Any) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
