"""How a run that did not succeed ended, as an error."""

from typing import Any

from executor.errors import RunCancelled, RunFailed, RunLost, RunNeverStarted, RunOutOfMemory, RunTimedOut
from executor.schemas.runs import RunView

_KINDS: dict[str | None, type[RunFailed]] = {
    "timed_out": RunTimedOut,
    "out_of_memory": RunOutOfMemory,
    "setup_failed": RunNeverStarted,
    "secrets_unavailable": RunNeverStarted,
    "no_capable_worker": RunNeverStarted,
    "plan_refused": RunNeverStarted,
}


def unsuccessful(view: RunView) -> RunFailed | RunCancelled:
    """How a run ended, as an error: with the exit code that `sealrun run` would have."""
    facts: dict[str, Any] = {"state": view.state, "reason": view.reason, "problem": view.problem}
    how = view.message or view.reason or view.state
    if view.state == "cancelled":
        return RunCancelled(run=view.id[:8], how=how, **facts)
    kind = _KINDS.get(view.reason, RunFailed)
    if view.reason == "lost":
        kind = RunLost if view.started_at is not None else RunNeverStarted
    code = None
    if kind is RunFailed:
        own = view.exit_code or (128 + view.signal if view.signal else None)
        code = (own if view.reason in ("exit_code", "signal") else None) or 1
    return kind(run=view.id[:8], how=how, exit_code=code, **facts)
