"""`sealrun doctor --conformance`: what was tried on this machine's sandbox, and what held."""

import platform
import sys

import typer

from executor.cli.shown import screen
from executor.conformance.catalog import BY_NAME, CATALOG
from executor.conformance.judging import HELD, NOT_HELD, NOT_RUN, broken, is_promised
from executor.conformance.line import Conformance, attack_here
from executor.errors import WorkerUnsupported

_MARKS = {HELD: "green", NOT_HELD: "yellow", NOT_RUN: "blue"}


def show(*, json: bool) -> None:
    """Attack, and tell what came of it; ends with 1 where something that is promised does not hold."""
    if platform.system() != "Linux":
        raise WorkerUnsupported(system=platform.system())
    screen.say(f"trying {len(CATALOG)} attacks in runs of their own; this takes some seconds")
    found = attack_here()
    failed = {one.attack for one in broken(found.verdicts, found.host.rung)}
    if json:
        screen.show_json(_document(found, failed))
    else:
        _table(found, failed)
    if failed:
        raise typer.Exit(1)


def _table(found: Conformance, failed: set[str]) -> None:
    screen.show(f"rung {found.host.rung}")
    width = max(len(one.name) for one in CATALOG)
    for one in found.verdicts:
        mark = screen.paint(f"{one.verdict:<8}", "red" if one.attack in failed else _MARKS[one.verdict], sys.stdout)
        more = "" if one.verdict == HELD else f" ({screen.printable(one.how)})"
        screen.show(f"{mark}  {one.attack:<{width}}  {one.gives}{more}")
    open_ = [one for one in found.verdicts if one.verdict == NOT_HELD and one.attack not in failed]
    if open_:
        screen.say(f"{len(open_)} did not hold that this machine does not promise; sealrun doctor says what raises it")
    if failed:
        screen.say(f"promised at rung {found.host.rung}, and not held: {', '.join(sorted(failed))}")


def _document(found: Conformance, failed: set[str]) -> dict[str, object]:
    attacks = [
        {
            "attack": one.attack,
            "gives": one.gives,
            "verdict": one.verdict,
            "how": one.how,
            "promised": is_promised(BY_NAME[one.attack], found.host.rung),
        }
        for one in found.verdicts
    ]
    return {"ok": not failed, "rung": found.host.rung, "parts": found.parts, "attacks": attacks}
