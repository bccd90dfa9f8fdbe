"""The example jobs, run as plain programs with the environment a run would give them."""

import ast
import base64
import csv
import gzip
import hashlib
import hmac
import importlib.util
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = CHECKOUT / "examples"
SHOP = "sqlite:///examples/shop.db"


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """An empty folder for what a job leaves."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


def start(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a job in the checkout with nothing in its environment but what is given and a PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env={"PATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def report(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return start(sys.executable, "examples/report.py", *arguments, **environment)


class TestReport:
    def test_agrees_with_the_database(self, outputs: Path) -> None:
        """Every row of report.csv and the revenue in report.md are what the database says."""
        finished = report("--since", "2026-06-01", DATABASE_URL=SHOP, SEALRUN_OUTPUT_DIR=str(outputs))

        assert finished.returncode == 0, finished.stderr
        with (outputs / "report.csv").open(newline="", encoding="utf-8") as file:
            written = [(row["day"], row["product"], int(row["units"]), row["revenue"]) for row in csv.DictReader(file)]
        with sqlite3.connect(EXAMPLES / "shop.db") as connection:
            sold = connection.execute(
                "SELECT sold_on, name, quantity, price_cents * quantity FROM sales JOIN products USING (sku)"
                " WHERE sold_on >= '2026-06-01'"
            ).fetchall()
        assert sorted(written) == sorted((day, name, units, f"{cents / 100:.2f}") for day, name, units, cents in sold)
        revenue = sum(cents for *_, cents in sold)
        assert f"Revenue: {revenue // 100:,}.{revenue % 100:02d}" in (outputs / "report.md").read_text()
        assert f"report: {len(sold)} rows, 30 days, 4 products" in finished.stdout

    def test_reads_a_folder_it_cannot_write(self, tmp_path: Path, outputs: Path) -> None:
        """A read-only file in a read-only folder is enough, and nothing appears beside it."""
        folder = tmp_path / "source"
        folder.mkdir()
        shutil.copy(EXAMPLES / "shop.db", folder)
        (folder / "shop.db").chmod(0o444)
        folder.chmod(0o555)
        url = f"sqlite:///{folder}/shop.db"

        finished = report("--since", "2026-06-01", DATABASE_URL=url, SEALRUN_OUTPUT_DIR=str(outputs))

        assert finished.returncode == 0, finished.stderr
        assert [entry.name for entry in folder.iterdir()] == ["shop.db"]

    def test_with_no_sales_says_so(self, outputs: Path) -> None:
        """A date after the last sale gives a report, not a crash."""
        finished = report("--since", "2030-01-01", DATABASE_URL=SHOP, SEALRUN_OUTPUT_DIR=str(outputs))

        assert finished.returncode == 0, finished.stderr
        assert "Nothing was sold." in (outputs / "report.md").read_text()

    @pytest.mark.parametrize(
        ("url", "sentence"),
        [
            ("correct-horse-battery", "DATABASE_URL is not a database URL: expected sqlite:///"),
            (
                "mysql://reader:correct-horse-battery@db/shop",
                "DATABASE_URL is not a database URL: expected sqlite:///",
            ),
            (
                "sqlite:///correct-horse-battery.db",
                "unable to open database file; a relative path starts at /",
            ),
            ("sqlite:///LICENSE", "file is not a database"),
            ("sqlite://", "DATABASE_URL names no file"),
            ("", "the secret DATABASE_URL is missing; store it: sealrun secret set DATABASE_URL"),
        ],
    )
    def test_a_wrong_url_is_one_sentence_without_the_value(self, url: str, sentence: str, outputs: Path) -> None:
        """Whatever DATABASE_URL holds, the job ends with 1 and a sentence that does not repeat it (I10)."""
        finished = report("--since", "2026-01-01", DATABASE_URL=url, SEALRUN_OUTPUT_DIR=str(outputs))

        assert finished.returncode == 1
        assert finished.stderr.startswith("report: ")
        assert sentence in finished.stderr
        assert "correct-horse-battery" not in finished.stdout + finished.stderr
        assert "Traceback" not in finished.stderr
        assert list(outputs.iterdir()) == []

    def test_of_postgresql_is_the_same(self, postgres_url: str, outputs: Path, tmp_path: Path) -> None:
        """The dumped example, loaded into PostgreSQL, gives the same files as the SQLite file."""
        psycopg = pytest.importorskip("psycopg")
        dumped = start(sys.executable, "examples/shop.py", "dump", DATABASE_URL=SHOP)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(dumped.stdout)
        other = tmp_path / "other"
        other.mkdir()

        first = report("--since", "2026-05-01", DATABASE_URL=SHOP, SEALRUN_OUTPUT_DIR=str(outputs))
        second = report("--since", "2026-05-01", DATABASE_URL=postgres_url, SEALRUN_OUTPUT_DIR=str(other))

        assert (first.returncode, second.returncode) == (0, 0), second.stderr
        for name in ("report.csv", "report.md"):
            assert (outputs / name).read_bytes() == (other / name).read_bytes()


@pytest.fixture
def forecast(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module examples/forecast.py, imported as a run imports it: with its folder first on the path."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{EXAMPLES}/shop.db")
    monkeypatch.setenv("API_KEY", "k-5f1d0c77")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("forecast", EXAMPLES / "forecast.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("shop", None)


class TestForecast:
    def test_is_the_mean_of_each_weekday(self, forecast: ModuleType) -> None:
        """A day is forecast as its weekday's average of the eight weeks before, times the growth."""
        result = forecast.forecast("TEA-SENCHA", days=3, growth=0.5, start=date(2026, 6, 1))

        with sqlite3.connect(EXAMPLES / "shop.db") as connection:
            (units,) = connection.execute(
                "SELECT sum(quantity) FROM sales WHERE sku = 'TEA-SENCHA' AND sold_on IN ("
                + ", ".join(f"date('2026-06-01', '-{7 * week} days')" for week in range(1, 9))
                + ")"
            ).fetchone()
        assert [day["day"] for day in result["expected"]] == ["2026-06-01", "2026-06-02", "2026-06-03"]
        assert result["expected"][0]["units"] == round(units / 8 * 1.5, 1)
        assert result["total_units"] == pytest.approx(sum(day["units"] for day in result["expected"]))

    def test_is_signed_with_the_key(self, forecast: ModuleType) -> None:
        """Who holds the key can check the signature after a round trip through JSON."""
        result = json.loads(json.dumps(forecast.forecast()))
        signature = result.pop("signature")

        body = json.dumps(result, sort_keys=True, separators=(",", ":")).encode()
        assert signature == "sha256=" + hmac.new(b"k-5f1d0c77", body, hashlib.sha256).hexdigest()

    def test_of_an_unknown_product_fails(self, forecast: ModuleType) -> None:
        """A product without history is an error that names it."""
        with pytest.raises(ValueError, match="no sales of 'COFFEE'"):
            forecast.forecast("COFFEE")

    def test_annotations_are_those_the_command_line_converts(self, forecast: ModuleType) -> None:
        """Each argument has one of the types that --arg understands."""
        annotations = dict(forecast.forecast.__annotations__)
        annotations.pop("return")
        assert annotations == {"product": str, "days": int, "growth": float, "start": date}


class TestBackup:
    def test_restores_and_is_signed(self, outputs: Path) -> None:
        """The packed dump rebuilds the same database, and its signature is made with BACKUP_KEY."""
        finished = start(
            "sh",
            "examples/backup.sh",
            DATABASE_URL=SHOP,
            BACKUP_KEY="b-91c4",
            SEALRUN_OUTPUT_DIR=str(outputs),
        )

        assert finished.returncode == 0, finished.stderr
        packed = (outputs / "shop.sql.gz").read_bytes()
        restored = sqlite3.connect(":memory:")
        restored.executescript(gzip.decompress(packed).decode())
        with sqlite3.connect(EXAMPLES / "shop.db") as original:
            assert list(restored.iterdump()) == list(original.iterdump())
        signature = (outputs / "shop.sql.gz.hmac-sha256").read_text().strip()
        assert signature == hmac.new(b"b-91c4", packed, hashlib.sha256).hexdigest()

    @pytest.mark.parametrize("missing", ["BACKUP_KEY", "DATABASE_URL"])
    def test_without_a_secret_names_it(self, missing: str, outputs: Path) -> None:
        """A missing secret ends the command with 1 and its name."""
        environment = {"DATABASE_URL": SHOP, "BACKUP_KEY": "b-91c4", "SEALRUN_OUTPUT_DIR": str(outputs)}
        del environment[missing]

        finished = start("sh", "examples/backup.sh", **environment)

        assert finished.returncode == 1
        assert f"the secret {missing} is missing" in finished.stderr


def test_leaky_prints_the_value_in_every_disguise() -> None:
    """Unmasked, the job really prints its key plainly and encoded: what a run hides, it hides itself."""
    key = 'k-"5f1d/0c77+a'
    finished = start(sys.executable, "examples/leaky.py", API_KEY=key)

    assert finished.returncode == 0
    encoded = base64.b64encode(key.encode()).decode()
    for disguise in (key, encoded, key.encode().hex(), json.dumps(key), "k-%225f1d%2F0c77%2Ba"):
        assert disguise in finished.stdout
    assert key in finished.stderr


def test_the_shop_is_what_its_builder_builds(tmp_path: Path) -> None:
    """examples/shop.db holds what `shop.py build` makes, and is no WAL file: those need a writable folder."""
    finished = start(sys.executable, "examples/shop.py", "build", str(tmp_path / "shop.db"))

    assert finished.returncode == 0, finished.stderr
    with sqlite3.connect(tmp_path / "shop.db") as built, sqlite3.connect(EXAMPLES / "shop.db") as shipped:
        assert list(built.iterdump()) == list(shipped.iterdump())
        assert shipped.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_examples_are_no_source_root() -> None:
    """The README's commands run from the checkout: examples/ must not take the source root for itself."""
    assert not (EXAMPLES / ".sealrun.toml").exists()
    assert not (EXAMPLES / "pyproject.toml").exists()


@pytest.mark.parametrize("job", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.name)
def test_is_written_for_old_interpreters(job: Path) -> None:
    """A project may bring Python 3.9: the jobs use no younger syntax."""
    ast.parse(job.read_text(encoding="utf-8"), feature_version=(3, 9))
