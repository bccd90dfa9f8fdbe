"""One installer: uv in a supervisor and a sandbox of its own, before the run's gate.

It runs third-party code. So it has what a run has, its rung, its network and a user id lent for it, and less: of the
source only the texts that say what is to be installed, and no secret but those that the run names for it.
"""

import contextlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uv

from executor import runs
from executor.errors import EnvironmentNotBuilt, SecretsUnavailable, SupervisorLost
from executor.keys.access import key_access
from executor.models import Run
from executor.python import machine_setup
from executor.python.interpreters import Interpreter
from executor.python.layout import interpreter_paths, search_path_of
from executor.python.requirements import installs
from executor.runs import GateShut, Outcome, output
from executor.runs.grant import Given
from executor.sandbox import confinement, handover
from executor.sandbox.limits import clear_run
from executor.sandbox.working import READ_ONLY
from executor.sandbox.workspace import Workspace, workspace
from executor.schemas.output import Piece
from executor.schemas.receipts import SETUP
from executor.worker import python_cache
from executor.worker.collecting import SetupCollector
from executor.worker.equipment import Equipment
from executor.worker.judging import judge_setup
from executor.worker.lease import LeaseKeeper
from executor.worker.preparation import base_of, controls_of, grouped, held_of, limits, ready
from executor.worker.watch import REAP, follow
from executor.worker.working import WorkingFolder
from secretstore import vault
from secretstore.transaction import Transaction

_BUILDER = (Path(__file__).parents[1] / "inside/builder.py").read_text()
_WORDS = 2000  # characters of the installer's last words that a failure quotes
_KEPT = 64 << 20  # bytes of its output; an installer that says more goes on
_KNOWN = 500  # digests of environments that need no building, as many as are told
_UV = ("--color", "never", "--no-progress")


@dataclass(frozen=True)
class Order:
    """An environment to be built. `request` is the digest of all that was asked for.

    `seed` is what, with the lock, identifies what is built; `pinned` says that the lock is given, and resolves to the
    same for ever. `variables` are given to uv.
    """

    request: str
    seed: str
    pinned: bool
    document: Mapping[str, Any]
    interpreter: Interpreter
    variables: Mapping[str, str]


@dataclass
class Setup:
    """A run between its claim and its gate, and words of ours for its log.

    `output` is the number of the last piece of output that was stored.
    """

    worker: Equipment
    run: Run
    keeper: LeaseKeeper
    output: int = 0

    def say(self, words: str) -> None:
        """A line of ours in the run's `setup` stream."""
        self.output += 1
        piece = Piece(self.output, SETUP, datetime.now(UTC), f"sealrun: {words}\n".encode())
        output.append(self.worker.db, self.keeper.lease, [piece])


@contextlib.contextmanager
def installed(setup: Setup, order: Order, draft: Path, uv_cache: Path, known: Mapping[str, str]) -> Iterator[None]:
    """Resolve, and install into `draft/env` unless an environment of just that lock is `known`.

    What was built, and uv's cache, belong to the builder's user id. It is lent to nobody else while the context lasts:
    long enough to take them back.

    Raises:
        EnvironmentNotBuilt: with the installer's own last words.
        SecretsUnavailable, SecretStoreError: the secrets named for it could not be given.
        SupervisorLost: its supervisor was lost.
        GateShut, StaleToken: the run was cancelled, or taken over.
    """
    worker, keeper = setup.worker, setup.keeper
    name = f"{keeper.lease.run_id}-{keeper.lease.attempt}-setup"
    with (
        workspace(worker.settings.workspaces, name, worker.settings.run_uids) as place,
        contextlib.ExitStack() as ending,
    ):
        supervision = ending.enter_context(worker.zygote.pair(worker.host.box))
        ending.callback(clear_run, worker.mechanisms, setup.run.project_id, place.path.name)
        # Before the place is cleared, whatever happens, nothing of the installer is left to write into it.
        ending.callback(supervision.cut, REAP)
        _lay_out(order, draft, place.uid)
        machine = _machine_setup(setup, order, place)
        _furnish(place, machine.files)
        if place.uid is not None:
            lending = handover.lend(uv_cache, place.uid)
            keeper.wait(lambda: lending.poll() is not None)
            ending.enter_context(python_cache.passable(uv_cache))
        job = _job(setup, order, place, draft, uv_cache, known)
        ready(supervision, job)
        # This step's gate: no commit, no secrets; most have none, and renew the lease alone.
        bundle = _opened(setup, job).bundle
        opening = None
        if bundle is not None:
            opening = {"access": key_access(worker.settings).to_json(), "bundle": bundle.to_json()}
            opening |= worker.doors.opening(setup.run, SETUP, order.variables)
        go = {
            "deadline": keeper.deadline,
            "secrets": bundle is not None,
            "variables": dict(order.variables),
            "machine": {"variables": dict(machine.variables), "masked": worker.machine.credentials},
        }
        supervision.hand_over(opening, go)
        collector = SetupCollector(worker, keeper.lease, setup.output)
        ended = follow(supervision, keeper, collector)
        worker.metrics.opening(bundle, ended.answer)
        setup.output = collector.output
        outcome = judge_setup(ended, collector)
        if bundle is not None or outcome.masked:
            with keeper.renewing():
                runs.close_setup(worker.db, keeper.lease, outcome)
        _insist_on_built(setup, outcome, collector.words.last(_WORDS))
        yield


def _lay_out(order: Order, draft: Path, uid: int | None) -> None:
    """The texts that say what is to be installed, and places to write to that are the builder's own."""
    document, build = order.document, draft / "build"
    texts: dict[str, str] = {**document["files"], "with.in": "".join(f"{line}\n" for line in document["with"])}
    if document["hashed"]:
        texts["lock.txt"] = json.dumps(document["files"])
    elif not installs(document):
        texts["lock.txt"] = ""
    if "pyproject.toml" in texts:
        # It is a workspace by itself, so that uv looks for none in the folders above, which are not ours.
        texts["pyproject.toml"] = _workspace(texts["pyproject.toml"])
    else:
        texts["uv.toml"] = ""  # for the same reason
    for name in texts:
        _insist_on_inside(name)
    for folder in (draft / "env", build):
        folder.mkdir(mode=0o700)
    for name, text in texts.items():
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_text(text)
    if uid is not None:
        for path in (draft / "env", build, *build.rglob("*")):
            os.chown(path, uid, uid)


def _machine_setup(setup: Setup, order: Order, place: Workspace) -> machine_setup.Given:
    """How this machine reaches indexes, as far as the project's own variables and the run's secrets do not say it."""
    document, variables = order.document, order.variables
    own = {*variables, *(setup.run.setup_secret_names or ())}
    texts = (*document["files"].values(), *document["with"], *variables.values())
    return setup.worker.machine.given(place.home, own, texts)


def _furnish(place: Workspace, files: Mapping[str, str]) -> None:
    """Write files into the installer's HOME, before any process of its user id is there."""
    for name, text in files.items():
        path = place.home / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
    if place.uid is not None:
        for path in place.home.rglob("*"):
            os.chown(path, place.uid, place.uid)


def _insist_on_inside(name: str) -> None:
    """The names are of the run's row: what writes the files here has rights that no submitter has."""
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise EnvironmentNotBuilt(why="what describes it has a file whose name leads elsewhere")


def _workspace(pyproject: str) -> str:
    whole = f"{pyproject}\n[tool.uv.workspace]\n"
    try:
        tomllib.loads(whole)
    except tomllib.TOMLDecodeError:
        return pyproject  # it has one, or writes its tables in a line
    return whole


def _job(
    setup: Setup, order: Order, place: Workspace, draft: Path, uv_cache: Path, known: Mapping[str, str]
) -> dict[str, Any]:
    worker, run = setup.worker, setup.run
    settings = worker.settings
    program = _uv()
    python, interpreter = interpreter_paths(str(order.interpreter.path))
    env, build = draft / "env", draft / "build"
    view = confinement.view(
        worker.host,
        source=draft,
        interpreter=[*interpreter, program, *worker.machine.folders],
        writable=(place.home, place.temporary, place.output, env, build, uv_cache),
        uid=place.uid,
        forbidden=worker.settings.closed,
        cached=(draft,),
        temporary=place.temporary,
    )
    base = base_of(worker.host, run, place, search_path_of(None))
    base |= {
        "UV_CACHE_DIR": str(uv_cache),
        "UV_LINK_MODE": "copy",  # what another build may write must not be what a run reads
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_PYTHON": str(python),
        "UV_PROJECT_ENVIRONMENT": str(env),
        "GIT_TERMINAL_PROMPT": "0",
    }
    if settings.package_index is not None and "UV_DEFAULT_INDEX" not in order.variables:
        base["UV_DEFAULT_INDEX"] = settings.package_index
    plan = {
        "seed": order.seed,
        "known": list(known)[-_KNOWN:],
        **_commands(str(program), str(python), str(env), order.document),
    }
    # What it builds is the cache's, and bounded there; for memory a run's own limit would be too narrow.
    asked = limits(settings, settings.setup_timeout, _KEPT, drop=True)
    asked |= grouped(worker, run, place, view, asked)
    asked |= {"output_bytes": 0, "pids": settings.run_pids}
    return {
        "run": run.id,
        "target": {"kind": "command", "argv": [str(python), "-I", "-S", "-c", _BUILDER, json.dumps(plan)]},
        "python": str(python),
        "folder": str(build),
        "working": WorkingFolder(build, build, READ_ONLY).to_json(),
        "view": view.to_json(),
        "base": base,
        "output": str(place.output),
        "folders": [str(folder) for folder in place.folders],
        "controls": controls_of(worker.host, view) | {"limits": held_of(asked)},
        "limits": asked,
    }


def _uv() -> Path:
    """uv's program, as it is installed beside sealrun."""
    try:
        return Path(uv.find_uv_bin()).resolve()
    except FileNotFoundError:
        raise EnvironmentNotBuilt(why="uv is not installed beside this worker's sealrun: pip install uv") from None


def _commands(program: str, python: str, env: str, document: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """What resolves and what installs, each a list of commands; the lock is `lock.txt`.

    What is installed is what was asked for, with the lock as its bounds: so an index that a pyproject.toml names for
    one package counts here too, and the lock's hashes are compared. A file with hashes of its own is its own lock.
    """
    more = ["with.in"] if document["with"] else []
    inputs = {
        "list": [],
        "requirements": [f"./{document['entry']}"],
        "pyproject.toml": ["pyproject.toml"],
        "uv.lock": ["export.txt"],
    }[document["kind"]]
    resolve = [program, "pip", "compile", *_UV, "--python", python, "--generate-hashes", "--no-header", "--no-annotate"]
    resolve += ["--output-file", "lock.txt", *inputs, *more]
    put = [program, "pip", "install", *_UV, "--python", f"{env}/bin/python", "--compile-bytecode"]
    wanted = [word for name in (*inputs, *more) for word in ("-r", name)]
    make = [program, "venv", "--quiet", *_UV, "--no-project", "--python", python, env]
    if not installs(document):
        return {"resolve": [], "install": [make]}
    if document["hashed"]:
        return {"resolve": [], "install": [make, [*put, "--require-hashes", *wanted]]}
    if document["kind"] != "uv.lock":
        return {"resolve": [resolve], "install": [make, [*put, *wanted, "--constraints", "lock.txt"]]}
    only = ["--frozen", "--no-default-groups"]
    exported = ["--no-emit-workspace", "--no-header", "--no-annotate", "--format", "requirements-txt"]
    export = [program, "export", *_UV, *only, *exported, "--output-file", "export.txt" if more else "lock.txt"]
    sync = [program, "sync", *_UV, *only, "--no-install-workspace", "--compile-bytecode"]
    if not more:
        return {"resolve": [export], "install": [make, sync]}
    return {"resolve": [export, resolve], "install": [make, sync, [*put, "-r", "with.in", "--constraints", "lock.txt"]]}


def _opened(setup: Setup, job: Mapping[str, Any]) -> Given:
    """The secrets named for the installer, sealed, their receipt written; without any the lease is renewed alone."""
    run = setup.run
    names = run.setup_secret_names
    if not names:
        setup.keeper.renew()
        return Given.as_variables(None)

    def read(transaction: Transaction) -> Given:
        return Given.as_variables(vault.sealed_bundle(transaction, run.environment_id, names))

    rung, controls = job["view"]["rung"], job["controls"]
    with setup.keeper.renewing():
        return runs.open_setup(setup.worker.db, setup.keeper.lease, read, rung=rung, controls=controls)


def _insist_on_built(setup: Setup, outcome: Outcome, words: str) -> None:
    match outcome.state, outcome.reason:
        case "succeeded", _:
            return
        case "cancelled", _:
            raise GateShut
        case "lost", _:
            raise SupervisorLost("the process that built the run's Python environment was lost")
        case _, "secrets_unavailable":
            message = "the installer's secrets could not be opened: {why}"
            raise SecretsUnavailable(message, why=outcome.message, unopened=outcome.unopened)
        case _, "timed_out":
            seconds = setup.worker.settings.setup_timeout
            raise EnvironmentNotBuilt(why=f"it took longer than {seconds} seconds (SEALRUN_SETUP_TIMEOUT_SECONDS)")
    raise EnvironmentNotBuilt(why=words or outcome.message)
