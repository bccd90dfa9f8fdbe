"""What runs try, and what is promised to hold, at each rung and under each user: the table of SECURITY.md is this.

Every day at the best rung of this machine; at those below by `scripts/test --all`. What is written down
as held or open is in `held.json`, which `scripts/security_table` writes anew.
"""

import json
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from executor.conformance.attacks.run import OWN_CODE
from executor.conformance.catalog import BY_NAME, CATALOG, MAIN, RUNGS
from executor.conformance.judging import Heard, broken, judge
from tests.rig import WEAKER
from tests.sandbox.attacking import WHO, Attacked, attacked

WRITTEN = Path(__file__).with_name("held.json")
BEST = RUNGS[-1]
CELLS = [
    pytest.param(rung, who, marks=() if rung == BEST else pytest.mark.long, id=f"{rung}-{who}")
    for rung in WEAKER
    for who in WHO
]


@cache
def cell(rung: str, who: str) -> Attacked:
    """All attacks, once for all tests of a cell."""
    return attacked(rung, who)


@pytest.mark.parametrize(("rung", "who"), CELLS)
def test_what_is_promised_holds(rung: str, who: str) -> None:
    """I3: nothing that this rung promises is got by a run."""
    found = cell(rung, who)
    assert broken(list(found.verdicts.values()), rung) == []


@pytest.mark.parametrize(("rung", "who"), CELLS)
def test_the_table_says_so(rung: str, who: str) -> None:
    """What SECURITY.md says of each attack is what came of it; one that could not be tried here may be written down."""
    written = json.loads(WRITTEN.read_text())[f"{rung} {who}"]
    found = {name: one for name, one in cell(rung, who).verdicts.items() if one.verdict != "not run"}
    differ = {name: (one.verdict, one.how) for name, one in found.items() if one.verdict != written.get(name)}
    assert differ == {}, "write the table anew: scripts/security_table"
    assert len(found) > len(CATALOG) // 2


@pytest.mark.parametrize("who", WHO)
def test_no_rung_promises_less_than_the_one_below(who: str) -> None:
    """What holds at one rung holds at the next, as it is written down."""
    written = json.loads(WRITTEN.read_text())
    for below, above in pairwise(RUNGS):
        held = {name for name, verdict in written[f"{below} {who}"].items() if verdict == "held"}
        lost = {name for name in held if written[f"{above} {who}"].get(name) == "not held"}
        assert lost == set(), f"from {below} to {above}"


def test_the_catalog_is_complete() -> None:
    """Each attack has a function, and each function is in the catalog."""
    from executor.conformance.attacks import run  # noqa: F401  # it lists them
    from executor.conformance.attacks.kit import ATTACKS

    assert set(ATTACKS) == set(BY_NAME) and len(BY_NAME) == len(CATALOG)


@pytest.mark.parametrize(
    ("code", "reason", "lost"),
    [
        (OWN_CODE, "exit_code", set()),
        (0, None, {"forged-frames"}),
        (None, "lost", {"deep-result"}),
    ],
)
def test_how_the_run_is_said_to_have_ended(code: int | None, reason: str | None, lost: set[str]) -> None:
    """An outcome that is not the run's own was forged; none at all means that nobody was left to tell of it."""
    names = "deep-result", "forged-frames"
    lines = [{"begins": name} for name in names] + [{"attack": name, "got": False, "said": ""} for name in names]
    heard = Heard(stdout="\n".join(map(json.dumps, lines)).encode(), exit_code=code, reason=reason)
    found = judge({MAIN: heard}, {}, "a word")
    assert {one.attack for one in found if one.attack in names and one.verdict == "not held"} == lost
