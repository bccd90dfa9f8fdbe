"""Writes the table of attacks in SECURITY.md: what was tried, at each rung and under each user, and what held.

scripts/security_table           runs them all, a minute or two as root, and writes held.json and the table
scripts/security_table --check   says whether the table is that of held.json
"""

import json
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

from executor.conformance.catalog import CATALOG, RUNGS
from tests.sandbox.attacking import WHO, attacked

PAGE, WRITTEN = CHECKOUT / "SECURITY.md", CHECKOUT / "tests/sandbox/held.json"
BEGIN = "<!-- attacks: written by scripts/security_table -->"
END = "<!-- end of attacks -->"
SHOWN = {"held": "held", "not held": "**open**", "not run": "not tried"}


def main() -> int:
    """Try, write, or check."""
    check = sys.argv[1:] == ["--check"]
    if not check:
        found = {}
        for rung in RUNGS:
            for who in WHO:
                print(f"{rung}, {who} …", file=sys.stderr)
                verdicts = attacked(rung, who).verdicts
                found[f"{rung} {who}"] = {name: one.verdict for name, one in verdicts.items()}
        WRITTEN.write_text(json.dumps(found, indent=1) + "\n")
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    wanted = f"{before}{BEGIN}\n{table(json.loads(WRITTEN.read_text()))}{END}{after}"
    if check:
        if page == wanted:
            return 0
        print(f"{PAGE} does not say what held.json says; write it anew: scripts/security_table", file=sys.stderr)
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


def table(found: dict[str, dict[str, str]]) -> str:
    """A line for each attack, a column for each rung and user."""
    cells = [(rung, who) for rung in RUNGS for who in WHO]
    heads = [f"`{rung}`, {who}" for rung, who in cells]
    lines = [f"| what a run tries to get | {' | '.join(heads)} |", f"| --- |{' --- |' * len(heads)}"]
    for one in CATALOG:
        shown = [SHOWN[found[f"{rung} {who}"].get(one.name, "not run")] for rung, who in cells]
        lines.append(f"| {one.gives} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
