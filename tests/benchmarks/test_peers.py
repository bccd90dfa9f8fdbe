"""The benchmark of peers works, on the smallest scale; its page and drawing come from its figures."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import peers_page  # noqa: E402  # a script's own module, which no package has


@pytest.mark.long
def test_each_way_has_its_row() -> None:
    """Those that need nothing to be installed, at the one rung that is quickest to begin."""
    words = [sys.executable, str(BENCHMARKS / "peers.py"), "--rounds", "2", "--burst", "2", "--rest", "0.1"]
    done = subprocess.run([*words, "--rungs", "process"], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("popen", "celery", "sealrun, process"):
        assert re.search(rf"^{name} +\d+\.\d", done.stdout, re.M), done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rq", "/nope/python"), "--rq: there is no program /nope/python"),
        (("--rq", "/bin/true"), "--rq: /bin/true is no Python"),
        (("--dagster", sys.executable), f"--dagster: {sys.executable} does not have dagster: "),
        (("--rest", "0"), "--rest takes a number of seconds above 0"),
        (("--slow-rounds", "0"), "--slow-rounds takes a number from 1 to 500"),
    ],
)
def test_what_cannot_be_measured_is_told_at_once(words: tuple[str, str], said: str) -> None:
    """Before anything is started."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "peers.py"), *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and said in done.stderr and not done.stdout


def test_the_page_has_ratios_to_the_celery_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stood between the marks is gone, what stands around them is not, and each bar says its ratio."""
    page, svg = tmp_path / "peers.md", tmp_path / "peers.svg"
    monkeypatch.setattr(peers_page, "PAGE", page)
    monkeypatch.setattr(peers_page, "DRAWING", svg)
    page.write_text(f"before\n{peers_page.BEGIN}\nold figures\n{peers_page.END}\nafter\n")
    rows = [_row("celery", 10.0, 40.0), _row("sealrun, process", 25.0, 10.0), _row("slow", 2500.0, 0.1)]
    names = ("cores", "processor", "system", "kernel", "python", "user", "load", "secrets", "slots", "rounds")
    peers_page.write(rows, dict.fromkeys((*names, "slow rounds", "burst"), "?"))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old figures" not in text
    assert "| sealrun, process | 2.50 | 2.50 | 0.25 | 1.00 |" in text
    drawn = [node.text for node in ElementTree.fromstring(svg.read_text()).iter() if node.tag.endswith("text")]
    assert {"2.50", "250 …", "0.25"} <= set(drawn)


def _row(name: str, start: float, rate: float) -> peers_page.Row:
    return peers_page.Row(name, "1.0", start, start, start, start, rate, 1.0, 2.0, 3.0, 40.0, "PSS")
