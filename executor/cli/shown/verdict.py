"""A run as it is told: as one JSON object, as an exit code, as a sentence."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from executor.cli.shown import screen
from executor.errors import Problem, Raised
from executor.schemas.amounts import AMOUNTS, as_words
from executor.schemas.output import OutputFile
from executor.schemas.receipts import ConnectionEntry, Receipt, ReceiptEntry
from executor.schemas.runs import MetricView, RunView

TIMED_OUT, CANCELLED, NEVER_STARTED = 124, 130, 125


def document(run: RunView) -> dict[str, Any]:
    """One object, the same for `run --json` and `runs show --json`; moments in ISO 8601, UTC."""
    told = screen.plain_data(run)
    told["target"] = run.title
    assert isinstance(told, dict)
    receipts = [run.receipt, *(receipt for attempt in run.attempts for receipt in attempt.receipts)]
    places = [told["receipt"], *(receipt for attempt in told["attempts"] for receipt in attempt["receipts"])]
    for receipt, place in zip(receipts, places, strict=True):
        if receipt is not None:
            place["may_have_been_opened"] = receipt.may_have_been_opened
    return told


def brief(run: RunView) -> dict[str, Any]:
    """A run in a list, which has no room for results and receipts."""
    left_out = {"result", "note", "problem", "receipt", "attempts", "outputs", "signal", "worker"}
    left_out |= {"metrics", "reported", "samples", "masked"}
    return {key: value for key, value in document(run).items() if key not in left_out}


def exit_code(run: RunView) -> int:
    """The run's own; 128+n by signal; 124 timed out; 130 cancelled; 1 exception; 125 never started."""
    match run.state, run.reason:
        case "succeeded", _:
            return run.exit_code or 0
        case "cancelled", _:
            return CANCELLED
        case _, "timed_out":
            return TIMED_OUT
        case _, "signal":
            return 128 + (run.signal or 0)
        case _, "out_of_memory" if run.signal:
            return 128 + run.signal
        case _, "exit_code" | "out_of_memory":
            return run.exit_code or 1
        case _, "setup_failed" | "secrets_unavailable" | "no_capable_worker" | "plan_refused":
            return NEVER_STARTED
        case _, "lost" if run.started_at is None:
            return NEVER_STARTED
    return 1


def sentence(run: RunView, *, followed: bool = False) -> str:
    """How a run that did not succeed ended; of what its installer said no more than a line if that was `followed`."""
    how = run.message or run.reason or run.state
    if followed and run.reason == "setup_failed":
        first, *more = how.split("\n")
        how = "\n".join([first, *(line for line in more if line.startswith("  hint: "))])
    return f"run {run.id[:8]} {run.state}" + ("" if how == run.state else f": {how}")


def tell_files(files: Iterable[OutputFile]) -> None:
    """Say which files of a run were withheld, and in which something was masked."""
    for file in files:
        name = screen.printable(file.path)
        if file.withheld is not None:
            screen.say(f"withheld {name}: {file.withheld}", "yellow")
        elif file.masked:
            screen.say(f"masked {name}: {file.masked_text}", "yellow")


def source(run: RunView) -> str:
    """Where a run's code came from."""
    root = run.source_root
    text = root if run.bundle is None else f"bundle {run.bundle[:12]}, uploaded from {root}"
    if run.source_commit is not None:
        changes = {True: " with uncommitted changes", None: "; whether with uncommitted changes is unknown"}
        text += f", commit {run.source_commit[:12]}{changes.get(run.source_dirty, '')}"
    return text


def asked(run: RunView) -> str:
    """What a run may have at most, what it needs of a sandbox, and what is kept of it, where that is not the usual."""
    network = "" if run.network == "full" else f"network {run.network}"
    rung = "" if run.rung_min is None else f"rung {run.rung_min} or better"
    kept = f"of the files beside its source: {screen.printable(', '.join(run.collect))}" if run.collect else ""
    return "; ".join(filter(None, (as_words(run), network, rung, kept)))


def problem_lines(problem: Problem) -> Iterator[str]:
    """What was raised, and what it came from; the traceback stands among what the run wrote to stderr."""
    yield _raised(problem)
    relations = {"cause": "caused by", "context": "raised while handling", "member": "one of its group:"}
    for cause in problem.causes:
        yield f"{relations.get(cause.relation)} {_raised(cause)}"


def _raised(problem: Raised) -> str:
    """As Python words it: an exception without a message is its name alone."""
    return f"{problem.type}: {problem.message}" if problem.message else problem.type


def metric_facts(run: RunView) -> Iterator[screen.Fact]:
    """What the latest attempt used and reported, line by line."""
    if (used := run.metrics) is not None:
        cpu = used["cpu_user_seconds"] + used["cpu_system_seconds"]
        yield "used", f"{cpu:.2f} s of CPU time, {used['peak_memory_bytes'] / (1 << 20):,.0f} MiB at its highest"
        yield "printed", ", ".join(_printed(used, stream) for stream in ("stdout", "stderr"))
        yield "phases", ", ".join(f"{name} {seconds:.2f} s" for name, seconds in used["phases"].items())
    if run.reported:
        yield "metrics", list(map(_metric, run.reported))


def _printed(used: dict[str, Any], stream: str) -> str:
    left_out = used[f"{stream}_left_out_bytes"]
    return f"{used[f'{stream}_bytes']:,} bytes to {stream}" + (f" ({left_out:,} left out)" if left_out else "")


def _metric(metric: MetricView) -> str:
    labels = "".join(f" {name}={text}" for name, text in (metric.labels or {}).items())
    unit = f" {metric.unit}" if metric.unit not in (None, "1") else ""
    value = f"{metric.value:,.0f}" if metric.value.is_integer() and abs(metric.value) < 1e15 else repr(metric.value)
    return f"{metric.name} = {value}{unit}{labels}"


def receipt_facts(receipt: Receipt) -> list[screen.Fact]:
    """A receipt, line by line."""
    secrets = [given(entry, receipt.opening_at) for entry in receipt.secrets]
    facts: list[screen.Fact] = [("secrets", secrets or "none")]
    if receipt.connections:
        facts.append(("connections", [_filled_in(one) for one in receipt.connections]))
    if receipt.fingerprint is not None:
        facts += [
            ("key", f"generation {receipt.generation}, {receipt.fingerprint[:16]}, {receipt.key_service}"),
            ("opened", _opened(receipt)),
            ("dropped", _dropped(receipt)),
        ]
    facts += _isolation(receipt.rung or "", receipt.controls)
    if "limits" in receipt.controls:
        facts.append(("limits", [*_limits(receipt.controls["limits"])]))
    for right in ("readable", "writable"):
        if folders := receipt.controls.get(right):
            facts.append((right, screen.printable(", ".join(folders))))
    if receipt.controls.get("key_file_readable"):
        facts.append(("warning", "this run could read the key file"))
    return facts


def _isolation(rung: str, controls: dict[str, Any]) -> Iterator[screen.Fact]:
    """The sandbox, and what of it this machine could not give."""
    missing = [name for name, found in controls.get("parts", {}).items() if found != "yes" and rung == "namespace"]
    yield "rung", f"{rung}, without {', '.join(missing)} of its own" if missing else rung
    if (network := controls.get("network", "full")) != "full":
        yield "network", network
    if (folder := controls.get("working_folder", "overlay")) != "overlay":
        yield "folder", screen.printable(folder)
    if sockets := controls.get("covered_sockets"):
        yield "covered", screen.printable(", ".join(sockets))


def _limits(held: dict[str, Any]) -> Iterator[str]:
    """Each limit and what held it; and what had none."""
    for one in AMOUNTS:
        if (found := held.get(one.name)) is not None:
            yield f"{one.show(found.get('bytes', found.get('count')))}, by {found['by']}"
    if without := [one.name for one in AMOUNTS if one.name not in held]:
        yield f"no limit: {', '.join(without)}"


_WAYS = {"file": ", as a file", "connection": ", for connections alone"}


def given(entry: ReceiptEntry, at: datetime | None) -> str:
    """One secret of a receipt, with its further name, and how long it was expired."""
    text = f"{entry.name} version {entry.version}"
    text += _WAYS.get(entry.channel, "")
    if entry.alias:
        text += f", also as {entry.alias}"
    if entry.expires_at is not None and at is not None:
        text += f", expired {screen.length((at - entry.expires_at).total_seconds())} before"
    return text


def _filled_in(entry: ConnectionEntry) -> str:
    """One setting of a data source or catalog, and the secret that it was filled in from."""
    field = f", field {entry.field}" if entry.field is not None else ""
    said = f"{entry.role} {entry.connection} {entry.place}: {entry.secret} version {entry.version}{field}"
    if entry.expires_at is not None:
        said += f" (short-lived credentials, until {screen.moment(entry.expires_at)})"
    return said + (f" (left out: {entry.left_out})" if entry.left_out is not None else "")


def _opened(receipt: Receipt) -> str:
    if receipt.may_have_been_opened:
        return "may have been opened: nothing was recorded after the gate"
    return screen.moment(receipt.opened_at) or f"no: {receipt.reason or ''}"


def _dropped(receipt: Receipt) -> str:
    if receipt.status in ("closed", "refused") and receipt.opened_at is None:
        return "nothing was handed over"
    return screen.moment(receipt.dropped_at) or "not recorded"
