"""What came of the attacks: what the run saw itself, and over it what is seen from outside."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from executor.conformance.attacks.run import OWN_CODE
from executor.conformance.catalog import BOMBS, BY_NAME, CATALOG, FLOOD, MAIN, RUNGS, Attack

HELD, NOT_HELD, NOT_RUN = "held", "not held", "not run"

# What the canary says of itself, by attack.
_SEEN = {
    "signals": "killed",
    "limits-of-others": "limits",
    "priority-of-others": "priority",
    "write-outside": "content of user",
    "mode-outside": "mode of modes",
    "write-source": "content of source",
}
KEPT = 4 << 20
"""Bytes that are kept of a run's output: fewer than an endless line has."""


@dataclass(frozen=True)
class Verdict:
    """What came of one attack."""

    attack: str
    verdict: str
    how: str

    @property
    def gives(self) -> str:
        """What it would have given."""
        return BY_NAME[self.attack].gives


@dataclass
class Heard:
    """What one run left: its lines, its end as it was told, its files and how much it printed."""

    stdout: bytes = b""
    printed: int = 0
    files: bytes = b""
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    left: Sequence[int] = ()
    """Processes of it that lived when it was over."""
    why_not: str | None = None
    """Why it was not started at all."""
    controls: Mapping[str, Any] = field(default_factory=dict)

    def lines(self) -> Iterator[dict[str, Any]]:
        """The documents it printed; what is none is passed over."""
        for line in self.stdout.splitlines():
            try:
                document = json.loads(line)
            except ValueError:
                continue
            if isinstance(document, dict):
                yield document


def judge(runs: Mapping[str, Heard], seen: Mapping[str, Any], token: str) -> list[Verdict]:
    """The verdict on each attack of the catalog.

    Args:
        runs: what was heard of each run.
        seen: what the canary saw, after the last.
        token: a word that is in all that was to be had, and in nothing else.
    """
    told: dict[str, dict[str, Any]] = {}
    begun: set[str] = set()
    for heard in runs.values():
        for line in heard.lines():
            begun.add(str(line.get("begins")))
            if "attack" in line:
                told[line["attack"]] = line
    return [
        _verdict(one, runs.get(one.run, Heard()), told.get(one.name), one.name in begun, seen, token) for one in CATALOG
    ]


def _verdict(
    attack: Attack, run: Heard, line: dict[str, Any] | None, begun: bool, seen: Mapping[str, Any], token: str
) -> Verdict:
    outside = _outside(attack, run, seen, token) if begun else None
    if outside is not None:
        return Verdict(attack.name, NOT_HELD, outside)
    if attack.name == "starts" and not begun and run.reason is not None:
        return Verdict(attack.name, NOT_HELD, f"the run did not start: {run.message or run.reason}")
    if run.why_not is not None:
        return Verdict(attack.name, NOT_RUN, run.why_not)
    if line is None:
        if begun and attack.run in BOMBS:
            return Verdict(attack.name, HELD, f"the run was ended: {run.reason}")
        if attack.run == FLOOD and run.reason == "output_limit":
            return Verdict(attack.name, HELD, "the run was ended: output_limit")
        return Verdict(attack.name, NOT_RUN, f"the run ended before: {run.message or run.reason or run.exit_code}")
    if line["got"] is None:
        return Verdict(attack.name, NOT_RUN, line["said"])
    # Where the truth is outside, the run's own word does not make it one.
    if line["got"] and attack.name not in _SEEN:
        return Verdict(attack.name, NOT_HELD, line["said"])
    return Verdict(attack.name, HELD, line["said"])


def _outside(attack: Attack, run: Heard, seen: Mapping[str, Any], token: str) -> str | None:
    """What was seen from outside of one that did not hold; None where nothing was."""
    name = attack.name
    if name in _SEEN and seen.get(_SEEN[name]):
        return "seen from outside"
    if name in seen.get("came", ()):
        return "it was reached"
    if name == "tmux" and seen.get("tmux"):
        return "its command was done"
    if attack.run == MAIN:
        if name == "daemon" and run.left:
            return f"{len(run.left)} processes are left"
        if name == "links" and token.encode() in run.files:
            return "its content came as output"
        if name == "forged-frames" and run.exit_code not in (None, OWN_CODE):
            return f"the run is said to have ended with {run.exit_code}, {run.reason}"
        if name == "deep-result" and run.exit_code is None and run.reason is not None:
            return f"nobody is left to say how the run ended: {run.reason}"
    if attack.run == FLOOD and run.printed > 2 * KEPT:
        return f"{run.printed >> 20} MB came to the worker"
    return None


def broken(verdicts: Sequence[Verdict], rung: str) -> list[Verdict]:
    """What is not held although this rung promises it."""
    return [one for one in verdicts if one.verdict == NOT_HELD and is_promised(BY_NAME[one.attack], rung)]


def is_promised(attack: Attack, rung: str) -> bool:
    """Whether a machine of this rung promises that it fails."""
    return RUNGS.index(rung) >= RUNGS.index(attack.promised)


def left_of(word: str) -> list[int]:
    """Processes, those of this one's own user or not, that have a word among their arguments."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if word.encode() in file.read():
                        found.append(int(entry))
            except OSError:
                continue
    return found
