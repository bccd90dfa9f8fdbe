"""The supervisor: one process per run that holds its plaintext and ends with it.

Harden, report ready, confine the child-to-be, receive the values, build the masker, start the child, pump, end the
tree, report. It trusts nothing the child sends. Everything that leaves goes through `Reporter`, which has no unmasked
path.
"""

import contextlib
import math
import os
import select
import selectors
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from executor.boundary.wire import Frame, Kind, Receiver, WireBroken
from executor.environment import variables as environment
from executor.environment.assumed import Assumed
from executor.environment.connections import Derived, derive
from executor.errors import ConnectionNotGiven
from executor.masking.masker import Masker
from executor.masking.needles import is_maskable, verdict
from executor.sandbox import confinement, kernel, tree
from executor.sandbox.box import init
from executor.sandbox.limits import Group
from executor.sandbox.removal import remove
from executor.sandbox.working import COPY, READ_ONLY, layers
from executor.supervisor import child as children
from executor.supervisor import denials, limits, masked_files, written
from executor.supervisor.allowance import LogLimits
from executor.supervisor.child import Child, Waiting
from executor.supervisor.ending import LOOK, Ending, end_tree
from executor.supervisor.metrics_file import MetricsFile
from executor.supervisor.outputs import collect
from executor.supervisor.prepared import Prepared
from executor.supervisor.report import NoLongerExpected, Reporter
from executor.supervisor.roles import from_values
from executor.supervisor.seen import MESSAGE
from executor.supervisor.usage import Usage, kill_counter
from secretstore.errors import SealrunError
from secretstore.run_connection import RunConnection

_DRAIN = 2.0  # seconds for the rest in the pipes once the tree is dead
_OPENING = 120.0  # seconds for the opener; key services have shorter limits


def supervise(worker: socket.socket, values: socket.socket, parts: Sequence[str] = ()) -> int:
    """Run one attempt and return the supervisor's own exit status.

    Args:
        worker: lifeline and channel; when its other end closes, the run is ended.
        values: VALUE frames from the opener, then VALUES_END.
        parts: those of the box that runs of this worker have; none where they have no box.
    """
    with contextlib.ExitStack() as ending:
        return _supervise(worker, values, parts, ending)


def _supervise(worker: socket.socket, values: socket.socket, parts: Sequence[str], ending: contextlib.ExitStack) -> int:
    kernel.harden()
    kernel.become_subreaper()
    kernel.name_process("sealrun-superv")
    reporter = Reporter(worker)
    receiver = Receiver(worker)
    reporter.post(Kind.READY)
    box = Prepared(parts)
    try:
        job = _expect(receiver, Kind.JOB).json()
        group = ending.enter_context(limits.of_run(job))
        waiting = _waiting(job, {}, group, box.taken())
        counter = kill_counter()
        go = _expect(receiver, Kind.GO).json()
        if early := environment.read_at_start(go["variables"]):
            # An interpreter that has started would not read them any more. No value has arrived yet.
            waiting.abandon()
            waiting = _waiting(job, early, group)
    except (EOFError, WireBroken):
        box.give_up()  # one that was taken ends with this process
        return 1
    attempt = Attempt(worker, receiver, reporter, job, waiting, go, Usage(counter), group)
    opened: dict[str, bytes] = {}
    with values:
        if go["secrets"]:
            try:
                opened = attempt.receive(values)
            except (EOFError, TimeoutError, WireBroken):
                # The opener tells the worker why.
                reporter.outcome(reason=attempt.ending.reason or "secrets_unavailable")
                return 1
    return attempt.run(opened)


@dataclass(frozen=True)
class Limits:
    """What one attempt may use, in seconds and bytes."""

    timeout: float | None
    int_grace: float
    term_grace: float
    logs: LogLimits
    result_bytes: int
    output_bytes: int
    disk_bytes: int | None = None

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Limits":
        """From the wire; the rest of it is for `limits`."""
        own = {field.name: document[field.name] for field in fields(cls) if field.name in document}
        return cls(**{**own, "logs": LogLimits(**document["logs"])})


class Attempt:
    """One attempt in its supervisor, from its values to its outcome."""

    def __init__(
        self,
        worker: socket.socket,
        receiver: Receiver,
        reporter: Reporter,
        job: dict[str, Any],
        waiting: Waiting,
        go: dict[str, Any],
        usage: Usage,
        group: Group,
    ) -> None:
        self._worker = worker
        self._receiver = receiver
        self._reporter = reporter
        self._job = job
        self._waiting = waiting
        self._limits = Limits.from_json(job["limits"])
        self._deadline: int = go["deadline"]
        self._variables: dict[str, str] = go["variables"]
        self._submitted: list[str] = go.get("submitted", [])
        self._channels: dict[str, str] | None = go.get("channels")
        self._plan = [RunConnection.from_json(one) for one in go.get("plan", ())]
        self._newer: list[str] = go.get("newer", [])
        # What an installer is given of the machine's own, without an opener: it is the worker's, and no secret of ours.
        self._machine: dict[str, Any] = go.get("machine", {"variables": {}, "masked": ()})
        self._usage = usage
        self._group = group
        self._bounds = limits.bounds_of(job, group)
        self._share = limits.Share(job)
        self._began = time.monotonic()
        self._metrics: MetricsFile | None = None
        self._lost = False
        self._over = False  # the tree has ended: nothing but its report is left
        self.ending = Ending(self._limits.int_grace, self._limits.term_grace)

    def receive(self, values: socket.socket) -> dict[str, bytes]:
        """Receive the opened values, by name, while listening to the worker.

        Raises:
            EOFError: the opener ended too early, the worker is gone, or it cancelled the run.
            TimeoutError: the opener took too long.
        """
        receiver = Receiver(values)
        secrets: dict[str, bytes] = {}
        deadline = time.monotonic() + _OPENING
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([values, self._worker], [], [], left)
            if self._worker in ready:
                self._listen()
            if self.ending.reason is not None:
                raise EOFError
            if values in ready:
                frames = receiver.available()
                if frames is None:
                    raise EOFError
                for frame in frames:
                    if frame.kind is Kind.VALUES_END:
                        return secrets
                    length = int.from_bytes(frame.payload[:2], "big")
                    secrets[frame.payload[2 : 2 + length].decode()] = frame.payload[2 + length :]
        raise TimeoutError

    def run(self, opened: dict[str, bytes]) -> int:
        """Mask, start, pump, end, report."""
        job, reporter = self._job, self._reporter
        try:
            values, assumed = from_values(opened)
            of_connections = self._through("connection")
            secrets = {name: value for name, value in values.items() if name not in of_connections}
            derived = self._derive(values, assumed, secrets)
            # The masker knows every value before anything else can leave, whether a variable has it or not.
            words = enumerate(self._machine["masked"], 1)
            machine = {f"password {number} of this machine's indexes": word.encode() for number, word in words}
            masker = Masker.build(values, derived.needles | machine)
            reporter.register(masker, self._limits.logs, self._limits.result_bytes)
            for name, value in secrets.items():
                if not is_maskable(value):  # whatever was claimed of it when it was sealed
                    reporter.say(*verdict(name, value).notes)
            if (path := job["base"].get("SEALRUN_METRICS")) is not None:
                self._metrics = MetricsFile(path, job["view"]["uid"])
            built = environment.build(
                job["base"],
                self._variables,
                secrets,
                submitted=self._submitted,
                as_files=self._through("file") & secrets.keys(),
                folder=job.get("private", ""),
                brought={**self._machine["variables"], **derived.entries},
            )
            objects = self._objects(derived)
            reporter.post(Kind.STARTED, {"aliases": built.aliases, "connections": self._connections(derived)})
            for path in job["view"].get("sockets", ()):
                reporter.say(f"covered: {path}, a socket of this machine in what the run is given")
            files = built.files | {f"{job['private']}/{name}": data for name, data in derived.files.items()}
            # Opening may have taken longer than the lease, or somebody has cancelled meanwhile.
            self._listen()
            if _boottime() >= self._deadline:
                self.ending.begin("lost")
            if self.ending.reason is not None:
                reporter.outcome(reason=self.ending.reason)
                return 1
            child = self._waiting.start(built.entries, files, objects)
        except SealrunError as error:
            hint = f" ({error.hint})" if error.hint else ""
            reporter.outcome(reason="setup_failed", message=f"{error}{hint}")
            return 1
        started = time.monotonic()
        status = self._pump(child)
        ended = time.monotonic()
        if self._group.killed_for_memory():  # whatever became of the rest
            self.ending.begin("out_of_memory")
        statuses: dict[int, int] = {}
        self._group.kill()
        whole = end_tree(None if child.boxed else job["view"]["uid"], statuses)
        if status is None:
            # It could not be collected while the tree lived; ending the tree has collected it.
            status = statuses.get(child.pid, int(signal.SIGKILL))
        reporter.drain(child, _DRAIN)
        children.close(child)
        self._over = True
        self._share.end()
        # What is kept is not lost because the database is slow; what ends the waiting is what would have ended the run.
        reporter.wait_while(self._expected)
        if not self._lost:
            if self._metrics is not None:
                reporter.metrics(self._metrics.new(reporter.metric_masker, last=True))
                if left_out := self._metrics.close():
                    reporter.say(left_out)
            ended_well = status == 0 and self.ending.reason is None
            if status != 0 and self.ending.reason is None:
                self._hint()
            reporter.result(awaited=ended_well and job["target"].get("kind") == "function")
            masked = masked_files.of_target(job["target"])
            with contextlib.suppress(NoLongerExpected):
                given = collect(job["output"], self._limits.output_bytes, job["view"]["uid"], reporter, masked)
                written.collect(job, self._waiting.marks, given, reporter)
        # Removed here and not by the worker: the run chose the file names, and they may hold a secret.
        if upper := job.get("working", {}).get("upper"):
            layers.clear_written(Path(upper).parent)
        for folder in job["folders"]:
            remove(Path(folder))
        phases = {"start": started - self._began, "run": ended - started, "drain": time.monotonic() - ended}
        self._report(status, phases, whole)
        return 0

    def _expected(self) -> bool:
        """Tell whether the worker is there and the run still its own; one that is not is lost, whatever it left."""
        if self._listen() and _boottime() < self._deadline:
            return True
        self.ending.begin("lost")
        return False

    def _hint(self) -> None:
        """Tell what to do about a refusal that came of the sandbox."""
        view = confinement.View.from_json(self._job["view"])
        home = str(confinement.users_home())
        if hint := denials.hint(self._reporter.last_words, view, self._job["working"], home):
            self._reporter.say(hint)

    def _derive(
        self, values: dict[str, bytes], assumed: dict[str, Assumed | str], secrets: dict[str, bytes]
    ) -> Derived:
        """Resolve data sources and catalogs for a run that gets these secrets as well."""
        base, variables = self._job["base"], self._variables
        taken = {*base, *variables, *secrets, *environment.second_names(base, variables, secrets).values()}
        return derive(self._plan, values, assumed, self._job.get("private", ""), taken)

    def _through(self, channel: str) -> set[str]:
        return {name for name, given in (self._channels or {}).items() if given == channel}

    def _objects(self, derived: Derived) -> dict[str, dict[str, Any]]:
        """Return the documents of the data sources and catalogs that the function's parameters are mapped to.

        Raises:
            ConnectionNotGiven: one of them is left out.
        """
        objects: dict[str, dict[str, Any]] = {}
        for parameter, key in self._job.get("mapped", {}).items():
            if key in derived.left_out:
                raise ConnectionNotGiven(parameter=parameter, why=derived.left_out[key])
            objects[parameter] = derived.objects[key]
        return objects

    def _connections(self, derived: Derived) -> dict[str, dict[str, Any]]:
        """Tell the run's output what is left out and why; return that, expiry and absent fields for the receipt."""
        mask = self._reporter.seen.at(MESSAGE).mask_text
        told: dict[str, dict[str, Any]] = {key: {"left_out": mask(why)} for key, why in derived.left_out.items()}
        for one in told.values():
            self._reporter.say(f"left out of this run: {one['left_out']}")
        for name in self._newer:
            self._reporter.say(mask(f"left out of this run: the secret {name}: it was not there when it was accepted"))
        for note in derived.notes:
            self._reporter.say(note)
        plan = {one.key: one for one in self._plan}
        for key, document in derived.objects.items():
            source = document.get("source")
            absent = _absent(plan[key], document)
            if source is not None:
                absent += [f"source.{place}" for place in _absent(plan[f"source/{source['name']}"], source)]
            told[key] = {"absent": absent, "expires_at": (source or document).get("expires_at")}
        return told

    def _pump(self, child: Child) -> int | None:
        """Carry output until the child has ended; return its wait status.

        None if another process of the run traces it: it may not end, and cannot be collected, before that one does.
        """
        reporter = self._reporter
        timeout = self._limits.timeout
        timeout_at = None if timeout is None else time.monotonic() + timeout
        self._listen()
        with selectors.DefaultSelector() as selector:
            selector.register(child.over, selectors.EVENT_READ)
            if not self._lost:
                selector.register(self._worker, selectors.EVENT_READ)
            open_pipes = {child.stdout: Kind.STDOUT, child.stderr: Kind.STDERR, child.result: Kind.RESULT}
            reading: set[int] = set()
            over = False
            while True:
                # A worker that takes no frames stops the reading, and so the child, but never this loop.
                wanted = set() if reporter.congested else set(open_pipes)
                for fd in reading - wanted:
                    selector.unregister(fd)
                for fd in wanted - reading:
                    selector.register(fd, selectors.EVENT_READ)
                reading = wanted
                if not self._lost:
                    selector.modify(self._worker, selectors.EVENT_READ | (selectors.EVENT_WRITE * reporter.pending))
                for key, events in selector.select(min(self._wait(timeout_at), LOOK if over else math.inf)):
                    if key.fd in open_pipes:
                        if not reporter.carry(open_pipes[key.fd], key.fd):
                            del open_pipes[key.fd]
                    elif key.fd == child.over:
                        over = True
                        selector.unregister(child.over)
                    elif events & selectors.EVENT_WRITE:
                        reporter.flush()
                    elif not self._listen():
                        selector.unregister(self._worker)
                # The rest of a tree that is to end has the same time as its first process.
                if over and not (self.ending.gentle and child.has_others()):
                    return child.collected()
                if reporter.over_limit:
                    self.ending.begin("output_limit")
                self._check_time(child, timeout_at)
                if time.monotonic() >= self._usage.next_at:
                    self._look(child)
                if time.monotonic() >= self._share.next_at:
                    self._share.take()
                if time.monotonic() >= self._bounds.next_at and (passed := self._bounds.over()) is not None:
                    self.ending.begin(passed)
                    self._group.kill()
                # Killed twice and still not over: ending the tree kills its tracer, too.
                if self.ending.kills > 1:
                    return None

    def _wait(self, timeout_at: float | None) -> float:
        """Return the seconds until something is due."""
        now = time.monotonic()
        due = [one.next_at - now for one in (self._usage, self._bounds, self._share)]
        if (next_at := self.ending.next_at) is not None:
            due.append(next_at - now)
        if self.ending.reason != "lost":
            due.append((self._deadline - _boottime()) / 1e9)
        if timeout_at is not None and self.ending.reason is None:
            due.append(timeout_at - now)
        return max(min(due), 0.0)

    def _look(self, child: Child) -> None:
        """Report what the run uses, and its new metrics."""
        tree.reap([child.pid])
        self._reporter.post(Kind.SAMPLE, asdict(self._usage.sample()))
        if self._metrics is not None:
            self._reporter.metrics(self._metrics.new(self._reporter.metric_masker))

    def _listen(self) -> bool:
        """Act on the worker's frames; False if the worker is gone."""
        frames = self._receiver.available()
        if frames is None:
            self._lost = True
            self.ending.begin("lost")
            return False
        for frame in frames:
            if frame.kind is Kind.DEADLINE:
                self._deadline = frame.json()["deadline"]
            elif frame.kind is Kind.CANCEL and not self._over:
                self.ending.begin(frame.json().get("reason", "cancelled"))
        return True

    def _check_time(self, child: Child, timeout_at: float | None) -> None:
        if _boottime() >= self._deadline:
            self.ending.begin("lost")
        if timeout_at is not None and time.monotonic() >= timeout_at:
            self.ending.begin("timed_out")
        self.ending.act(child.pid, passes_on=child.boxed)

    def _peak(self, reason: str | None) -> int:
        """The most memory that was seen by others than `usage`. A group's has what the kernel keeps of files in it."""
        return max(self._bounds.peak, self._group.peak() if reason == "out_of_memory" else 0)

    def _report(self, status: int, phases: dict[str, float], whole: bool) -> None:
        exited = os.WIFEXITED(status)
        code = os.WEXITSTATUS(status) if exited else None
        number = None if exited else os.WTERMSIG(status)
        reason = self.ending.reason or ("output_limit" if self._reporter.over_limit else None)
        used = self._usage.total()
        # A shell reports a program that was killed by its own exit code.
        killed = number == signal.SIGKILL or code == 128 + signal.SIGKILL
        if reason is None and killed and self._usage.killed_for_memory():
            reason = "out_of_memory"
        elif reason is None and self._limits.disk_bytes and signal.SIGXFSZ in (number, (code or 0) - 128):
            reason = "disk_limit"
        elif reason is None and not exited:
            reason = "signal"
        elif reason is None and code:
            reason = "exit_code"
        metrics = {
            "wall_seconds": round(phases["run"], 3),
            **asdict(replace(used, peak_memory_bytes=max(used.peak_memory_bytes, self._peak(reason)))),
            **self._reporter.written,
            "phases": {name: round(seconds, 4) for name, seconds in phases.items()},
        }
        self._reporter.outcome(reason=reason, exit_code=code, signal=number, metrics=metrics, tree_ended=whole)


def _waiting(job: dict[str, Any], early: Mapping[str, str], group: Group, box: init.Box | None = None) -> Waiting:
    # Our own interpreter ends its lines itself, and writes each of them at once and in one piece.
    bare = {name: value for name, value in job["base"].items() if name != "PYTHONUNBUFFERED"}
    working = job.get("working", {"how": READ_ONLY})
    return children.prepare(
        target=job["target"],
        python=job["python"],
        folder=job["folder"],
        view=confinement.View.from_json(job["view"]),
        bare={**bare, **early} if job["target"]["kind"] != "command" else bare,
        program=job.get("program"),
        copied_from=working["source"] if working["how"] == COPY else None,
        entry=limits.entry_of(job, group),
        descriptors=job["limits"].get("descriptors"),
        box=box,
    )


def _absent(planned: RunConnection, document: dict[str, Any]) -> list[str]:
    """Return the optional settings for which the secret has no field."""
    return [one.place for one in planned.references() if one.optional and one.place not in document]


def _expect(receiver: Receiver, kind: Kind) -> Frame:
    frame = receiver.receive()
    if frame is None:
        raise EOFError
    if frame.kind is not kind:
        raise WireBroken
    return frame


def _boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
