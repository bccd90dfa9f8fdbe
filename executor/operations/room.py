"""What holds the room: in the database, in the worker's cache, in the workspaces; and the command that frees it."""

from collections.abc import Iterator

from executor.operations.deployment import Deployment
from executor.records import room
from executor.sandbox.folders import size_of
from executor.schemas.doctor import Finding
from executor.source.packing import size_text
from secretstore.audit import Actor

_WORTH_A_WORD = 64 << 20  # bytes: below that nobody looks for room


def findings(at: Deployment, who: Actor) -> Iterator[Finding]:
    """Look at each of them; what another process changes meanwhile is counted or not."""
    yield _database(at)
    yield _cache(at)
    yield _workspaces(at)


def _database(at: Deployment) -> Finding:
    size, free = at.db.size()
    held = room.by_kind(at.db)
    held |= {"other": max(size - free - sum(held.values()), 0), "free": free}
    parts = ", ".join(
        f"{kind} {size_text(of)}" for kind, of in sorted(held.items(), key=lambda one: -one[1]) if of and kind != "free"
    )
    text = f"the database has {size_text(size)}: {parts}"
    if free >= 1 << 20:
        text += f"; {size_text(free)} free inside"
    mend = None
    if size >= _WORTH_A_WORD:
        days = at.settings.keep_runs // 86_400
        mend = f"what runs left goes after {days} days" if days else "what runs left is kept for ever"
        mend += "; earlier: sealrun runs prune --older-than 7d"
    return Finding("room", "ok", text, mend, {"bytes": size, **held})


def _cache(at: Deployment) -> Finding:
    size, limit = size_of(at.settings.cache), at.settings.cache_bytes
    text = f"{size_text(size)} of {size_text(limit)} at most, in {at.settings.cache}"
    mend = "set SEALRUN_CACHE_LIMIT_GIB lower for the worker, or remove the folder while none runs"
    return Finding("cache room", "ok", text, mend if size >= _WORTH_A_WORD else None, {"bytes": size, "limit": limit})


def _workspaces(at: Deployment) -> Finding:
    size = size_of(at.settings.workspaces)
    text = f"{size_text(size)}, in {at.settings.workspaces}"
    mend = "runs at work have it; what a killed worker left is removed by the next one: sealrun worker"
    return Finding("workspace room", "ok", text, mend if size >= _WORTH_A_WORD else None, {"bytes": size})
