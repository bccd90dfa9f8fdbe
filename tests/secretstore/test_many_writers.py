"""Eight processes write to one database at once: no error, and nothing lost."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from secretstore import audit_reading, vault
from secretstore.bundle import SealedBundle
from secretstore.database import Database
from secretstore.local_keys import LocalKeys
from secretstore.reveal import reveal
from secretstore.vault.storing import VERSIONS_KEPT

WRITERS = 8
SECONDS = 3.0
"""How long they write. Twenty is the promise; three find what breaks, and fit in a suite."""


def test_eight_processes_write_without_an_error(
    shop: Database, database_url: str, keys: LocalKeys, bundled: Callable[..., SealedBundle]
) -> None:
    """Each write that a process saw succeed is there, in order, readable, and in an unbroken audit chain."""
    processes = [_start(database_url, f"WRITER_{number}") for number in range(WRITERS)]
    for process in processes:
        assert process.stdin
        process.stdin.close()
        process.stdin = None
    results = [process.communicate(timeout=SECONDS + 60) for process in processes]
    assert [(process.returncode, problems) for process, (_, problems) in zip(processes, results, strict=True)] == [
        (0, "")
    ] * WRITERS
    reports = [json.loads(output) for output, _ in results]

    shared = sum(report["stored"]["SHARED"] for report in reports)
    own = {f"WRITER_{n}": report["stored"][f"WRITER_{n}"] for n, report in enumerate(reports)}
    variables = sum(report["stored"]["VARIABLE"] for report in reports)
    assert min(own.values()) > 0
    for name, count in {**own, "SHARED": shared}.items():
        versions = [view.version for view in vault.history(shop, "shop", "default", name)]
        assert versions == list(range(count, max(count - VERSIONS_KEPT, 0), -1))  # the older ones are destroyed
    for view in vault.list_variables(shop, "shop", "default"):
        assert view.value == str(own[view.name.removesuffix("_VARIABLE")])
    assert len(vault.history(shop, "shop", "staging", "SHARED")) == min(shared, VERSIONS_KEPT)
    rolled_back = sum(report["rolled_back"] for report in reports)
    assert rolled_back
    (shared_now,) = [view.version for view in vault.list_secrets(shop, "shop", "default") if view.name == "SHARED"]
    assert shared_now in [view.version for view in vault.history(shop, "shop", "default", "SHARED")]
    values = {item.name: value.decode() for item, value in reveal(keys, bundled(shop))}
    assert all(values[name] == f"{name} value {count - 1}" for name, count in own.items())
    made = 3  # the project and its two environments
    verified = audit_reading.verify(shop, "shop")
    assert (verified.ok, verified.checked) == (True, made + sum(own.values()) + 2 * shared + variables + rolled_back)
    print(f"{shop.dialect}: {verified.checked / SECONDS:.0f} writes/s, slowest", end=" ")
    print(f"round {max(report['slowest'] for report in reports):.2f} s")


def _start(url: str, name: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(Path(__file__).with_name("writer.py")), url, str(SECONDS), name]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
