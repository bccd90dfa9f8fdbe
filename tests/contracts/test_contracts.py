"""Each import contract of pyproject.toml is seen to break: in a copy, by one planted import."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

PLANTED = {
    "one-way-out": ("executor.keys.access", "secretstore.reveal"),
    "started-never-imported": ("executor.worker.dispatch", "executor.supervisor.opener"),
    "one-opener": ("executor.supervisor.report", "executor.supervisor.process"),
    "who-unwraps": ("secretstore.vault.keys", "secretstore.unwrapping"),
    "seals-anywhere": ("secretstore.reservation", "sqlmodel"),
    # Two rooms away from what holds plaintext.
    "small-processes": ("executor.masking.needles", "sqlalchemy"),
    "store-alone": ("secretstore.naming", "executor.errors"),
    "store-starts-nothing": ("secretstore.naming", "subprocess"),
    # For a type alone: such a circle is one, too.
    "executor-layers": ("executor.boundary.wire", "executor.worker.life"),
    "store-layers": ("secretstore.errors", "secretstore.audit"),
    "typed-in-a-moment": ("executor.cli.warm.place", "typer"),
    "warm-is-started": ("executor.cli.lazy", "executor.cli.warm.serving"),
    "doors-through-operations": ("executor.cli.variable", "secretstore.vault"),
    "server-through-operations": ("executor.api.streams", "executor.records.logs"),
    "server-opens-nothing": ("executor.api.paging", "secretstore.reveal"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter says of a copy in which every contract is broken once."""
    copy = tmp_path_factory.mktemp("planted")
    for package in ("executor", "secretstore"):
        shutil.copytree(CHECKOUT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", copy)
    for importer, imported in PLANTED.values():
        file = copy / f"{importer.replace('.', '/')}.py"
        planted = f"\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import {imported}\n"
        file.write_text(file.read_text() + planted)
    linter = Path(sys.executable).with_name("lint-imports")
    environ = {**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "200"}
    ended = subprocess.run([linter, "--no-cache"], cwd=copy, env=environ, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return ended.stdout


def test_each_contract_has_its_planted_import() -> None:
    """One that is added without is found here."""
    assert {contract["id"] for contract in CONTRACTS} == set(PLANTED)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["id"])
def test_it_breaks(said: str, contract: dict[str, str]) -> None:
    """By name, and naming the import."""
    importer, imported = PLANTED[contract["id"]]
    assert f"{contract['name']} BROKEN" in said
    assert f"{importer} -> {imported}" in said
