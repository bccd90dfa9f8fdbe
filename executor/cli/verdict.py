"""A run as it is told: as one JSON object, as an exit code, as a sentence."""

from typing import Any

from executor.cli import screen
from executor.history import Receipt, RunView

TIMED_OUT, CANCELLED, NEVER_STARTED = 124, 130, 125


def document(run: RunView) -> dict[str, Any]:
    """One object, the same for `run --json` and `runs show --json`; moments in ISO 8601, UTC."""
    told = screen.plain_data(run)
    told["target"] = run.title
    assert isinstance(told, dict)
    return told


def brief(run: RunView) -> dict[str, Any]:
    """A run in a list, which has no room for results and receipts."""
    left_out = ("result", "note", "problem", "receipt", "outputs", "signal", "worker")
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
        case _, "exit_code":
            return run.exit_code or 1
        case _, "setup_failed" | "secrets_unavailable" | "no_capable_worker":
            return NEVER_STARTED
        case _, "lost" if run.started_at is None:
            return NEVER_STARTED
    return 1


def sentence(run: RunView) -> str:
    """How a run that did not succeed ended."""
    how = run.message or run.reason or run.state
    return f"run {run.id[:8]} {run.state}" + ("" if how == run.state else f": {how}")


def receipt_facts(receipt: Receipt) -> list[tuple[str, str]]:
    """A receipt, line by line."""
    given = "\n".join(
        f"{entry.name} version {entry.version}" + (f", also as {entry.alias}" if entry.alias else "")
        for entry in receipt.secrets
    )
    facts = [("secrets", given or "none")]
    if receipt.secrets:
        cut_off = "not recorded: the run was cut off" if receipt.status == "opening" else ""
        facts += [
            ("opened", screen.moment(receipt.opened_at) or cut_off),
            ("dropped", screen.moment(receipt.dropped_at) or cut_off),
        ]
    facts.append(("rung", receipt.rung or ""))
    if receipt.controls.get("key_file_readable"):
        facts.append(("warning", "this run could read the key file"))
    return facts
