"""What a worker counts of its runs, for Prometheus; nothing unless SEALRUN_METRICS_LISTEN says where it is asked.

No label has a value that a project or a run chooses: there are states, reasons, phases, the worker's own queues.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from executor.boundary.wire import Frame, Kind
from executor.errors import MetricsUnavailable
from executor.runs import Outcome
from executor.runs.retrying import POLICIES
from executor.worker.health import Health
from executor.worker.metrics_server import Brief, Server
from secretstore import __version__, errors
from secretstore.bundle import SealedBundle

COUNT = 5.0  # seconds between two looks at the queues
_STALE = 30.0  # seconds after which what was counted of the queues is not told any more

_REASONS = {*POLICIES, "cancelled"}
_PHASES = ("setup", "gate", "open", "start", "run", "drain")
_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0, 7200.0)
_KEY_SERVICES = ("local", "aws-kms")
_REFUSALS = {one.code for one in vars(errors).values() if isinstance(one, type) and hasattr(one, "code")}


class Unmeasured:
    """Nobody asks: nothing is counted."""

    measures = False

    def ended(self, outcome: Outcome | None) -> None:
        """An attempt is over; without an outcome it was given back, or taken over."""

    def opening(self, bundle: SealedBundle | None, answer: Frame | None) -> None:
        """A key service was asked for the key of these secrets, if there are any."""

    def masked(self, count: int) -> None:
        """So many secrets were masked in what an attempt left."""

    def waiting(self, queues: Mapping[str, tuple[int, float]]) -> None:
        """How many runs wait in each queue of this worker, and the oldest for how many seconds."""


class Measured(Unmeasured):
    """Counted, and told to whoever asks at an address."""

    measures = True

    def __init__(self, address: tuple[str, int], health: Health, active: Sequence[str] | set[str], slots: int) -> None:
        """Listen.

        Raises:
            MetricsUnavailable: the library is missing, or the address cannot be had.
        """
        try:
            from prometheus_client import (
                CollectorRegistry,
                Counter,
                Histogram,
                MetricsHandler,
                disable_created_metrics,
            )
        except ImportError:
            raise MetricsUnavailable from None
        self._health, self._active, self._slots = health, active, slots
        self._queues: tuple[float, Mapping[str, tuple[int, float]]] = (0.0, {})
        disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series for what nobody asks
        registry = CollectorRegistry()
        told: dict[str, Any] = {"registry": registry, "namespace": "sealrun"}
        self._attempts = Counter("attempts", "Attempts that are over.", ("state", "reason"), **told)
        self._phases = Histogram("phase_seconds", "Phases of attempts.", ("phase",), buckets=_BUCKETS, **told)
        calls = "Calls of key services to unwrap a private key."
        self._calls = Counter("key_service_calls", calls, ("service", "outcome"), **told)
        self._masked = Counter("masked", "Secrets that were masked in what runs left.", **told)
        for phase in _PHASES:
            self._phases.labels(phase)
        registry.register(self)  # what is so at the moment it is asked
        try:
            handler = type("Handler", (Brief, MetricsHandler), {"registry": registry})
            self._server = Server(address, handler)
        except OSError as error:
            message = "SEALRUN_METRICS_LISTEN: nothing can be told at {host}, port {port}: {why}"
            why = (error.strerror or type(error).__name__).lower()
            hint = "each worker of a machine needs a port of its own"
            raise MetricsUnavailable(message, host=address[0], port=address[1], why=why, hint=hint) from None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    def ended(self, outcome: Outcome | None) -> None:
        """An attempt is over."""
        if outcome is None:
            self._attempts.labels("given_back", "none").inc()
            return
        reason = outcome.reason or "none"
        self._attempts.labels(outcome.state, reason if reason in {*_REASONS, "none"} else "other").inc()
        for phase, seconds in ((outcome.metrics or {}).get("phases") or {}).items():
            if phase in _PHASES:
                self._phases.labels(phase).observe(seconds)

    def opening(self, bundle: SealedBundle | None, answer: Frame | None) -> None:
        """A key service was asked."""
        if bundle is None or not bundle.items:
            return
        kind = bundle.key_service.partition(":")[0]
        document = answer.json() if answer is not None else {}
        outcome = "no_answer"
        if answer is not None and answer.kind is Kind.OPENED:
            outcome = "opened"
            self._phases.labels("open").observe(document["seconds"])
        elif answer is not None and answer.kind is Kind.NOT_OPENED:
            outcome = document["error"] if document["error"] in _REFUSALS else "other"
        self._calls.labels(kind if kind in _KEY_SERVICES else "other", outcome).inc()

    def masked(self, count: int) -> None:
        """So many secrets were masked."""
        self._masked.inc(count)

    def waiting(self, queues: Mapping[str, tuple[int, float]]) -> None:
        """What waits in the queues."""
        self._queues = time.monotonic(), queues

    def collect(self) -> Iterator[Any]:
        """What prometheus_client asks a collector for."""
        from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

        yield InfoMetricFamily("sealrun_build", "The version of this worker.", {"version": __version__})
        yield GaugeMetricFamily(
            "sealrun_ready", "1 where this worker can take runs.", float(self._health.why() is None)
        )
        yield GaugeMetricFamily("sealrun_slots", "Runs that this worker executes at a time.", self._slots)
        yield GaugeMetricFamily("sealrun_running", "Runs that this worker executes now.", len(self._active))
        at, queues = self._queues
        count = GaugeMetricFamily("sealrun_queue_runs", "Runs that wait for any worker.", labels=("queue",))
        age = GaugeMetricFamily("sealrun_queue_oldest_seconds", "For how long the oldest waits.", labels=("queue",))
        for queue, (runs, oldest) in queues.items() if time.monotonic() - at < _STALE else ():
            count.add_metric((queue,), runs)
            age.add_metric((queue,), oldest)
        yield from (count, age)
