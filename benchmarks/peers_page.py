"""The figures of `peers.py` as a table for a terminal, and as a table and a drawing for the documentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).resolve().parents[1] / "docs/reference"
PAGE, DRAWING = REFERENCE / "peers.md", REFERENCE / "peers.svg"
BEGIN = "<!-- made by benchmarks/peers.py --write -->"
END = "<!-- end -->"
BASE = "celery"
"""The way that the others are ratios of."""


@dataclass(frozen=True)
class Row:
    """One way: milliseconds, runs a second in the best burst, milliseconds of processor a run, MiB at rest."""

    name: str
    version: str
    start: float
    start_late: float
    end: float
    end_late: float
    rate: float
    submit: float
    worker: float
    job: float
    memory: float | None
    kind: str

    @property
    def cpu(self) -> float:
        """All processes of a run; a broker or a database server is not among them."""
        return self.submit + self.worker + self.job


def table(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """For a terminal."""
    base = _base(rows)
    lines = [
        ", ".join(f"{name} {value}" for name, value in facts.items()),
        "",
        f"{'':<20}{'start p50':>10}{'p95':>8}{'ratio':>7}{'end p50':>9}{'p95':>8}{'runs/s':>8}{'ratio':>7}"
        f"{'CPU-ms':>8}{'ratio':>7}{'submit':>8}{'worker':>8}{'job':>8}{'MiB':>8}",
    ]
    for one in rows:
        memory = _memory(one)
        lines.append(
            f"{one.name:<20}{one.start:>10.1f}{one.start_late:>8.1f}{one.start / base.start:>7.2f}"
            f"{one.end:>9.1f}{one.end_late:>8.1f}{one.rate:>8.1f}{one.rate / base.rate:>7.2f}"
            f"{one.cpu:>8.1f}{one.cpu / base.cpu:>7.2f}{one.submit:>8.1f}{one.worker:>8.1f}{one.job:>8.1f}{memory:>8}"
        )
    return "\n".join(lines)


def write(rows: Sequence[Row], facts: dict[str, Any]) -> None:
    """Put the figures into the page, between its two marks, and draw them beside it."""
    before, mark, rest = PAGE.read_text().partition(BEGIN)
    _, other, after = rest.partition(END)
    if not mark or not other:
        raise SystemExit(f"{PAGE} lacks the marks that the figures stand between")
    PAGE.write_text(f"{before}{BEGIN}\n{markdown(rows, facts)}\n{END}{after}")
    DRAWING.write_text(drawing(rows))


def markdown(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """The machine, and the table: ratios first, since they travel better than milliseconds."""
    base = _base(rows)
    versions = {one.name.partition(",")[0]: one.version for one in rows}
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    machine = f"{facts['cores']} cores ({facts['processor']}), {facts['system']}, Linux {facts['kernel']}"
    lines = [
        "",
        f"{machine}, Python {facts['python']}, as {facts['user']}, load {facts['load']} before. {said}.",
        f"{facts['secrets']} secrets, {facts['slots']} jobs at a time; {facts['rounds']} rounds in turns, "
        f"{facts['slow rounds']} of what takes seconds; bursts of {facts['burst']}.",
        "",
        "![Ratios to a Celery task](peers.svg)",
        "",
        _cells(_TITLES),
        _cells(["---", *["---:"] * (len(_TITLES) - 1)]),
    ]
    for one in rows:
        memory = _memory(one)
        ratios = (one.start, base.start), (one.end, base.end), (one.rate, base.rate), (one.cpu, base.cpu)
        cells = [one.name, *(_ratio(*pair) for pair in ratios)]
        cells += [
            f"{one.start:,.1f} / {one.start_late:,.1f}",
            f"{one.end:,.1f} / {one.end_late:,.1f}",
            f"{one.rate:.1f}",
        ]
        lines.append(_cells([*cells, f"{one.submit:.1f} + {one.worker:.1f} + {one.job:.1f}", memory]))
    lines.append("")
    return "\n".join(lines)


_TITLES = (
    *("", "start", "end", "runs/s", "CPU", "start, p50 / p95 ms", "end, p50 / p95 ms"),
    *("runs a second", "CPU-ms: submit + worker + job", "MiB at rest"),
)


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _base(rows: Sequence[Row]) -> Row:
    return next(row for row in rows if row.name == BASE)


def _memory(row: Row) -> str:
    """As PSS, in which a shared page counts once; where that may not be read, what was counted stands behind it."""
    if row.memory is None:
        return ""
    return f"{row.memory:.0f}" if row.kind == "PSS" else f"{row.memory:.0f} ({row.kind})"


def _ratio(value: float, base: float) -> str:
    ratio = value / base
    return f"{ratio:.0f}" if ratio >= 20 else f"{ratio:.2f}"


WIDTH, LEFT, BAR, ROOM = 760, 150, 14, 46
INK, LINE, OURS, THEIRS = "#57606a", "#8c959f", "#0969da", "#9aa4ae"


def drawing(rows: Sequence[Row]) -> str:
    """Three rows of bars, each a ratio to the Celery task: start, processor time, runs a second.

    A bar that would be more than six times as long as that of the Celery task is cut, and says its ratio.
    """
    base = _base(rows)
    panels = (
        ("Submit to the job's own first line, p50: shorter is better", [row.start / base.start for row in rows]),
        ("Processor time of a run, all its processes: shorter is better", [row.cpu / base.cpu for row in rows]),
        ("Runs a second in a burst: longer is better", [row.rate / base.rate for row in rows]),
    )
    height = len(panels) * (ROOM + len(rows) * (BAR + 6)) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="Ratios to a Celery task">'
    ]
    top = 0
    for title, ratios in panels:
        parts.append(f'<text x="{LEFT}" y="{top + 22}" fill="{INK}" font-weight="bold">{escape(title)}</text>')
        longest = min(max(ratios), 6.0)
        unit = (WIDTH - LEFT - 70) / longest
        bottom = top + 32 + len(rows) * (BAR + 6)
        for number, (row, ratio) in enumerate(zip(rows, ratios, strict=True)):
            y = top + 32 + number * (BAR + 6)
            length = min(ratio, longest) * unit
            colour = OURS if row.name.startswith("sealrun") else THEIRS
            parts.append(f'<text x="{LEFT - 8}" y="{y + 11}" fill="{INK}" text-anchor="end">{escape(row.name)}</text>')
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2" fill="{colour}"/>')
            cut = " …" if ratio > longest else ""
            parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + 11}" fill="{INK}">{_ratio(ratio, 1)}{cut}</text>')
        x = LEFT + unit
        parts.append(f'<path d="M{x:.1f} {top + 28}V{bottom}" stroke="{LINE}" stroke-dasharray="3 3" fill="none"/>')
        top += ROOM + len(rows) * (BAR + 6)
    return "\n".join([*parts, "</svg>"]) + "\n"
