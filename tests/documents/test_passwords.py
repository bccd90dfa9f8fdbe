"""No page, example or file that is handed out shows a server of ours that is reached without a password."""

import contextlib
import re
import subprocess
from pathlib import Path

from tests.executor.cli.conftest import CHECKOUT

PLACES = ("README.md", "SECURITY.md", "docs", "docker", "examples", "scripts", "executor", "secretstore")
SERVER = re.compile(
    r"(?:rediss?|amqps?|pyamqp|postgres(?:ql)?)(?:\+psycopg)?://(?P<user>[^\s/'\"`@]*@)?(?P<host>[\w$%][\w.-]*)"
)
SHIPPED = subprocess.run(
    ["git", "-C", CHECKOUT, "ls-files", "--cached", "--others", "--exclude-standard", *PLACES],
    capture_output=True, text=True, check=True,
).stdout.splitlines()  # fmt: skip


def bare(text: str) -> list[str]:
    """The URLs of a text that name a server and no password; a host that is only described is none."""
    found = [one for one in SERVER.finditer(text) if one["host"] not in ("host", "HOST") or one["user"]]
    return [one[0] for one in found if not re.fullmatch(r"[^:]*:[^:]+@", one["user"] or "")]


def test_the_check_knows_one_when_it_sees_it() -> None:
    """With a user alone, and with nothing."""
    for url in ("redis://127.0.0.1:6379/0", "postgres://postgres@127.0.0.1:5432/x", "amqp://broker//"):
        assert bare(f"export X={url}") == [url[: len(bare(url)[0])]]
    for url in ("redis://:PASSWORD@127.0.0.1:6379/0", "postgresql://USER:PASSWORD@h/d", "redis://…", "postgresql://…"):
        assert bare(url) == []


def test_no_server_is_shown_without_a_password() -> None:
    """Who copies it has a server that every run can use; hints of errors among them."""
    shown = {}
    for name in SHIPPED:
        with contextlib.suppress(UnicodeDecodeError, FileNotFoundError):
            shown[name] = bare(Path(CHECKOUT, name).read_text())
    assert len(shown) > 200
    assert {name: urls for name, urls in shown.items() if urls} == {}
