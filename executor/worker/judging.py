"""What the end of a supervision means: the supervisor's words as an outcome; without words, its wait status."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from executor.boundary.wire import Kind
from executor.errors import PlanRefused
from executor.models import Run
from executor.runs import Outcome, storable
from executor.worker.collecting import Collector
from executor.worker.watch import STOPPED, UNKEPT, Ended
from secretstore import sizes
from secretstore.errors import of_key_service

_WORD = 200  # characters of a name in a log
_OUTLIVED = "a process of it could not be ended, and may still run"


def judge(
    run: Run, ended: Ended, collector: Collector, phases: Mapping[str, float], limits: Mapping[str, Any] = {}
) -> Outcome:
    """A run's outcome, with the end of its output.

    `phases` says how many seconds each took that was over before, `limits` what the run might have at most.
    """
    reason = _reason(ended, collector)
    if ended.unkept is not None and reason not in ("cancelled", "lost"):
        said = storable(f"the end of what {_what(run.target)} left could not be kept: {ended.unkept}")
        return replace(_outcome(ended, collector, UNKEPT, None, phases), message=said)
    sentence = None
    if ended.said is not None and not ended.said.get("message"):
        sentence = _sentence(run, reason, ended, collector.left, limits)
    return _outcome(ended, collector, reason, sentence, phases)


def named(run: Run) -> str:
    """A run for a line of the worker's log: whose it is, and what ran in a word; its arguments may be anything.

    The names are of somebody's choice, so they are quoted: none of them begins a line or moves a cursor.
    """
    try:
        word = _what(run.target)
    except (LookupError, TypeError):  # a row that something else has written
        word = "?"
    texts = {"project": f"{run.project}/{run.environment}", "target": word}
    return " ".join(f"{name}={json.dumps(text[:_WORD])}" for name, text in texts.items())


def judge_setup(ended: Ended, collector: Collector) -> Outcome:
    """The same of an installer."""
    reason = _reason(ended, collector)
    return _outcome(ended, collector, reason, f"the installer ended without a word ({reason})", {})


def bare(outcome: Outcome, why: str) -> Outcome:
    """The same without what takes room; a run whose output or result is lost by that has not succeeded."""
    left = outcome.rows or any(one is not None for one in (outcome.result, outcome.note, outcome.problem))
    small = replace(outcome, rows=(), result=None, note=None, problem=None, metrics=None, masked=())
    if left and outcome.state in ("succeeded", "failed") and outcome.reason != UNKEPT:
        message = f"what it left could not be kept: {why}; it had ended as {outcome.reason or outcome.state}"
        return replace(small, state="failed", reason=UNKEPT, message=storable(message))
    return small


def _reason(ended: Ended, collector: Collector) -> str | None:
    reason = (ended.said or {}).get("reason")
    problem = collector.left.get("problem")
    if reason in ("exit_code", None) and ended.said is not None and problem is not None:
        return "out_of_memory" if str(problem.get("type")).endswith("MemoryError") else "exception"
    return reason


def _outcome(
    ended: Ended, collector: Collector, reason: str | None, sentence: str | None, phases: Mapping[str, float]
) -> Outcome:
    of_secrets, not_opened = _of_secrets(ended)
    rows = collector.rest()
    if ended.said is None:
        how = "it was killed" if ended.status and ended.status & 0x7F else "it ended without a word"
        said = f"the supervisor was lost: {how}"
        return Outcome("lost", "lost", said, masked=collector.masked, rows=rows, **of_secrets)
    message = ended.said.get("message")
    if reason == "secrets_unavailable" and not_opened is not None:
        message = not_opened  # the opener's own words say more than that none came
        if ended.answer is not None and ended.answer.json().get("error") == PlanRefused.code:
            reason = PlanRefused.code
    message = message or sentence
    metrics = ended.said.get("metrics")
    notes = [note for note in (collector.left.get("note"),) if note]
    if ended.said.get("tree_ended") is False:
        notes.append(_OUTLIVED)
    return Outcome(
        state={None: "succeeded", "cancelled": "cancelled", "lost": "lost", STOPPED: "lost"}.get(reason, "failed"),
        reason="lost" if reason == STOPPED else reason,
        message=None if message is None else storable(message),
        exit_code=ended.said.get("exit_code"),
        signal=ended.said.get("signal"),
        result=collector.left.get("result"),
        note="; ".join(notes) or None,
        problem=collector.left.get("problem"),
        metrics=metrics and {**metrics, "phases": {**phases, **metrics["phases"]}},
        aliases=collector.aliases,
        connections=collector.connections,
        masked=collector.masked,
        rows=rows,
        **of_secrets,
    )


def _of_secrets(ended: Ended) -> tuple[dict[str, Any], str | None]:
    """What the receipt is closed with, and why nothing was opened, where the opener said so."""
    answer = ended.answer
    document = answer.json() if answer is not None else {}
    opened = document["at"] if answer is not None and answer.kind is Kind.OPENED else None
    not_opened = None
    if answer is not None and answer.kind is Kind.NOT_OPENED:
        hint = f" ({document['hint']})" if document.get("hint") else ""
        not_opened = storable(f"{document['message']}{hint}")
    of_secrets = {
        "opened_at": datetime.fromisoformat(opened) if opened else None,
        "dropped_at": ended.reaped_at,
        # Where handing over broke off some values may have arrived: nobody knows, and the receipt stays open.
        "not_opened": not_opened if document.get("error") != "OSError" else None,
        "unopened": _unopened(document),
    }
    return of_secrets, not_opened


def _unopened(answer: Mapping[str, Any]) -> str | None:
    """The code of an error of this worker's key service, where the opener says that it had opened nothing before."""
    code = answer.get("error")
    return code if isinstance(code, str) and answer.get("unopened") is True and of_key_service(code) else None


def _sentence(
    run: Run, reason: str | None, ended: Ended, left: Mapping[str, Any], limits: Mapping[str, Any]
) -> str | None:
    what, said = _what(run.target), ended.said or {}
    match reason:
        case "exit_code":
            return f"{what} ended with exit code {said['exit_code']}"
        case "exception":
            problem = left["problem"]
            if problem.get("type") == "Mistake":  # entry's own sentence: wrong arguments, no such function
                return str(problem.get("message"))
            return f"{what} raised {problem.get('type', 'an exception')}"
        case "out_of_memory":
            return f"{what} ran out of memory{_of_memory(said, left, limits)}"
        case "disk_limit":
            most = sizes.as_text(limits["disk_bytes"])
            return f"{what} had written more than the {most} that it may have at once{_raise('--disk')}"
        case "process_limit":
            return f"{what} had more than the {limits['pids']:,} processes that it may have at once{_raise('--pids')}"
        case "signal":
            return f"{what} was ended by signal {said['signal']}"
        case "timed_out":
            return f"{what} was ended after {run.timeout:g} seconds"
        case "lost":
            why = f": {ended.unrenewed}" if ended.unrenewed else ""
            return f"the run was ended because its worker could not renew the lease{why}"
        case "worker_stopped":
            return "its worker was stopped, and the run with it"
        case "output_limit":
            limit = f"{run.kept_bytes >> 20:,} MiB"
            return f"{what} printed more than the {limit} that its project keeps (sealrun project set --output-limit)"
    return None


def _of_memory(said: Mapping[str, Any], left: Mapping[str, Any], limits: Mapping[str, Any]) -> str:
    """Who ended it, how much it had, and how much it may have."""
    most, peak = limits.get("memory_bytes"), said["metrics"]["peak_memory_bytes"] / (1 << 20)
    had = f"; it had {peak:,.0f} MiB at its highest"
    if most is not None:
        return f"{had} and may have {sizes.as_text(most)}{_raise('--memory')}"
    return had if left.get("problem") is not None else f": the kernel ended it{had}"


def _raise(option: str) -> str:
    return f" (give it more: {option}, also of sealrun project set)"


def _what(target: Mapping[str, Any]) -> str:
    """What ran, in a word."""
    match target["kind"]:
        case "function":
            return f"{target['path']}:{target['function']}"
        case "module":
            return str(target["module"])
        case "command":
            return str(target["argv"][0])
    return str(target.get("path"))
