"""examples/lakehouse: the commands of its README as they stand, with real servers and libraries from PyPI."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import uv

from tests.executor.cli.conftest import CHECKOUT, Cli, made
from tests.processes import arguments, eventually, is_alive

# Two environments are fetched and built; a cell of PyIceberg is tried every day.
pytestmark = [pytest.mark.ecosystem, pytest.mark.timeout(1200)]

README = (CHECKOUT / "examples" / "lakehouse" / "README.md").read_text()
PREPARE, RUN = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)[0].splitlines()
WITHIN = 900  # seconds
NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "UV_DEFAULT_INDEX")
"""What uv needs of this machine's environment to reach packages."""


@dataclass
class Newcomer:
    """Somebody in a folder with the examples, who types what the README says."""

    cli: Cli
    servers: list[int] = field(default_factory=list)

    def __call__(self, line: str) -> str:
        """What is seen of a command that succeeds."""
        ended = subprocess.run(
            ["sh", "-ec", line],
            cwd=self.cli.jobs,
            env=self.cli.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WITHIN,
        )
        self.servers += [int(pid) for pid in re.findall(r"kill (\d+)$", ended.stdout, re.MULTILINE)]
        assert ended.returncode == 0, ended.stdout
        return ended.stdout

    def end_servers(self) -> None:
        for pid in set(self.servers):
            if b"lakehouse/server.py" in arguments(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def newcomer() -> Iterator[Newcomer]:
    """With `sealrun` and `uv` on PATH, and the files of a checkout that say what its runs need."""
    network = {name: os.environ[name] for name in NETWORK if name in os.environ}
    with made(**network) as cli:
        own = cli.folder / "bin"
        own.mkdir()
        (own / "sealrun").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m executor.cli "$@"\n')
        (own / "sealrun").chmod(0o755)
        (own / "uv").symlink_to(uv.find_uv_bin())
        cli.environ["PATH"] = f"{own}:{cli.environ['PATH']}"
        shutil.copytree(CHECKOUT / "examples", cli.jobs / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(CHECKOUT / "pyproject.toml", cli.jobs)
        cli.ok("project", "create", "lakehouse")
        for name, value in network.items():
            cli.ok("variable", "set", name, value, "-p", "lakehouse", "--yes")
        one = Newcomer(cli)
        try:
            yield one
        finally:
            one.end_servers()


@pytest.fixture(scope="module")
def prepared(newcomer: Newcomer) -> str:
    return newcomer(PREPARE)


@pytest.fixture(scope="module")
def ran(newcomer: Newcomer, prepared: str) -> str:
    return newcomer(RUN)


def test_the_first_command_names_the_second(prepared: str) -> None:
    """And shows every command that it called, with no credential in any of them."""
    assert prepared.splitlines()[-1] == RUN
    called = [line.split()[2:4] for line in prepared.splitlines() if line.startswith("$ ")]
    assert called == [["project", "create"], ["secret", "set"], ["source", "create"], ["catalog", "create"]]
    assert "AKIA" not in prepared and "aws_secret_access_key" not in prepared


def test_the_second_command_reports_what_was_in_the_bucket(newcomer: Newcomer, ran: str) -> None:
    """Months and products are those of the orders that the server has made up, each order once."""
    paid = [line for line in made_up_orders() if line["status"] == "paid"]
    cents = [int(line["units"]) * round(float(line["price"]) * 100) for line in paid]
    months, products = Counter[str](), Counter[str]()
    for line, amount in zip(paid, cents, strict=True):
        months[line["day"][:7]] += amount
        products[line["product"].strip()] += amount

    (shown,) = newcomer.cli.json("runs", "list", "-p", "lakehouse", "--json")
    found = newcomer.cli.json("runs", "show", shown["id"], "--json")

    assert found["result"] == {
        "inserted": len(paid),
        "updated": 0,
        "orders": len(paid),
        "cents_by_month": dict(months),
        "cents_by_product": dict(products.most_common(3)),
    }
    assert f"stored in sales.orders: {len(paid):,} new, 0 changed" in ran
    for month, amount in months.items():
        assert re.search(rf"^{month} +{amount / 100:,.2f}$", ran, re.MULTILINE), ran


def test_the_receipt_is_as_the_readme_has_it(newcomer: Newcomer, ran: str) -> None:
    """Connection, setting, secret, version and field."""
    typed, seen = re.findall(r"^```(?:sh)?\n(.*?)^```", README, re.DOTALL | re.MULTILINE)[2:4]

    shown = newcomer(typed)

    assert seen.startswith("receipt\n")
    for line in seen.splitlines():
        assert line in shown.splitlines(), shown


def test_again_nothing_is_new(newcomer: Newcomer, prepared: str, ran: str) -> None:
    """The server that runs is found, and the table of before has every order."""
    again = newcomer(PREPARE)

    assert "project lakehouse exists already" in again and "secret set" not in again
    assert server_of(again) == server_of(prepared)
    assert "stored in sales.orders: 0 new, 0 changed" in newcomer(RUN)


def test_after_the_server_has_ended_there_is_another(newcomer: Newcomer, prepared: str, ran: str) -> None:
    """The `kill` that is printed ends it, and with it what it held."""
    pid = server_of(prepared)
    newcomer(f"kill {pid}")
    eventually(lambda: not is_alive(pid), 20, "the server ends")

    again = newcomer(PREPARE)

    assert server_of(again) != pid
    (stored,) = re.findall("^stored in .*", ran, re.MULTILINE)
    assert stored in newcomer(RUN)


def server_of(prepared: str) -> int:
    (pid,) = re.findall(r"it ends after an hour, or by: kill (\d+)$", prepared, re.MULTILINE)
    return int(pid)


def made_up_orders() -> Iterator[dict[str, str]]:
    spec = importlib.util.spec_from_file_location("lakehouse_server", CHECKOUT / "examples" / "lakehouse" / "server.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Iterator[dict[str, str]] = module.orders()
    return found
