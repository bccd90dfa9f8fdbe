"""What docs/reference/http-api.md shows is what a server answers, and openapi.json is its description."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from executor.api.routes import BASE
from tests.executor.api.pair import Pair
from tests.serving import token_of

pytestmark = pytest.mark.long

PAGES = Path(__file__).parents[3] / "docs" / "reference"
SHOWN = re.compile(r"```sh\n(.*?)```\n```(json)?\n(.*?)```\n", re.DOTALL)
EXAMPLES = SHOWN.findall((PAGES / "http-api.md").read_text(encoding="utf-8"))


def fits(shown: Any, told: Any) -> bool:
    """Whether what is told has all that is shown; `…` stands for whatever it is."""
    if shown == "…":
        return told is not None
    if isinstance(shown, dict):
        return isinstance(told, dict) and all(name in told and fits(value, told[name]) for name, value in shown.items())
    if isinstance(shown, list):
        return isinstance(told, list) and len(told) == len(shown) and all(map(fits, shown, told))
    return bool(shown == told)


def test_every_example_is_answered_as_shown(pair: Pair, tmp_path: Path) -> None:
    """Each command as it stands there, in one folder, in order."""
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    assert len(EXAMPLES) == 6
    run, _ = pair.ran("shop", "default", b"hello\n", b"world\n")
    token = token_of(pair.at, "robot")
    environ = {"API": pair.origin + BASE, "TOKEN": token, "RUN": run, "PATH": "/usr/bin:/bin"}
    for command, kind, shown in EXAMPLES:
        done = subprocess.run(
            ["bash", "-euc", command],
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if kind == "json":
            assert fits(json.loads(shown), json.loads(done.stdout)), (command, done.stdout)
        else:
            events = [re.escape(event).replace("…", ".*") for event in shown.strip().splitlines()]
            assert re.search("\n".join(events), done.stdout), done.stdout


def test_the_kept_description_is_the_servers(pair: Pair) -> None:
    """As it is served, to everybody; it says who may ask, and what is wrong when something is."""
    served = pair.ask("GET", "/openapi.json").json()
    assert served == json.loads((PAGES / "openapi.json").read_text(encoding="utf-8")), "write it anew: scripts/docs"
    assert served["openapi"].startswith("3.1") and served["security"] == [{"token": []}, {"session": []}]
    assert served["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    open_ = set()
    for path, methods in served["paths"].items():
        for method, operation in methods.items():
            if operation.get("security") == []:
                open_.add((method, path.removeprefix(BASE)))
            else:
                assert operation["responses"]["4XX"] == {"$ref": "#/components/responses/Problem"}, path
            assert operation["summary"] or operation["description"], path
    ways = {("post", "/device"), ("post", "/device/token"), ("post", "/log-in/code")}
    assert open_ == ways | {("get", "/health"), ("get", "/health/ready")}
