"""`sealrun login`, `logout` and `whoami`, and which door commands go through."""

import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.operations import projects
from executor.operations.deployment import Deployment
from executor.schemas.projects import NewProject
from executor.settings import read_settings
from tests.executor.cli.conftest import Cli, made
from tests.serving import OPERATOR, Served, served, token_of


@pytest.fixture(scope="module")
def behind() -> Iterator[Deployment]:
    """A deployment with the project `shop`."""
    with made() as home:
        at = Deployment.open(read_settings(home.environ))
        projects.create(at, OPERATOR, NewProject(name="shop"))
        yield at
        at.close()


@pytest.fixture(scope="module")
def house(behind: Deployment) -> Iterator[Served]:
    """Its server."""
    with served(behind) as server:
        yield server


@pytest.fixture(scope="module")
def token(behind: Deployment) -> str:
    """Of a service account that looks at everything."""
    return token_of(behind, "robot", "viewer")


def test_commands_speak_to_the_server_until_one_logs_out(new_cli: Cli, house: Served, token: str) -> None:
    """The token is read from stdin, kept for its user alone, ended there and forgotten here. It is shown nowhere."""
    said = new_cli("login", house.url, "--token", stdin=f"{token}\n", code=0)
    assert f"logged in to {house.url} as robot" in said.stderr
    kept = new_cli.home / "servers"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and token in kept.read_text()
    told = new_cli.json("whoami", "--json")
    assert (told["door"], told["server"], told["by"], told["name"]) == ("server", house.url, "sealrun login", "robot")
    assert told["rights"] == [{"at": "everywhere", "verbs": ["see"]}]
    assert "everywhere: see" in new_cli.ok("whoami")
    assert [one["name"] for one in new_cli.json("project", "list", "--json")] == ["shop"]
    assert not (new_cli.home / "sealrun.db").exists(), "no database is opened or made"
    refused = new_cli("project", "create", "toys", code=1)
    assert "robot" in refused.stderr and "manage" in refused.stderr
    for words in (("migrate",), ("worker",), ("up",), ("serve",)):
        refused = new_cli(*words, code=2)
        assert f"`sealrun {words[0]}` is for who operates sealrun" in refused.stderr
        assert "hint: if this is that machine: " in refused.stderr
    assert "server" in new_cli("doctor", code=0).stdout
    assert new_cli.json("logout", "--json") == {"server": house.url, "ended": True}
    assert token not in kept.read_text()
    assert new_cli.json("whoami", "--json")["door"] == "direct"
    again = new_cli("login", house.url, "--token", stdin=token, code=2)
    assert "does not take the token" in again.stderr and token not in again.stderr
    assert "there is nothing to log out of" in new_cli("logout", code=2).stderr


def test_a_server_for_one_command(new_cli: Cli, behind: Deployment, house: Served) -> None:
    """By an option, with a token of the environment, which is for that server and no other."""
    mine = token_of(behind, "ci", "viewer")
    own = {"SEALRUN_TOKEN": mine}
    assert [one["name"] for one in new_cli.json("--server", house.url, "project", "list", "--json", environ=own)] == [
        "shop"
    ]
    other = {**own, "SEALRUN_SERVER": "http://127.0.0.1:1"}
    refused = new_cli("--server", house.url, "project", "list", environ=other, code=2)
    assert f"you are not logged in to {house.url}" in refused.stderr
    assert new_cli.json(
        "--server", house.url, "project", "list", "--json", environ={**own, "SEALRUN_SERVER": house.url}
    )
    away = new_cli("project", "list", environ=other, code=1)
    assert "the server http://127.0.0.1:1 does not answer" in away.stderr and "hint: " in away.stderr
    for url in ("http://sealrun.example.com", "https://u:hunter2-pass@x.example.com", "nonsense"):
        refused = new_cli("--server", url, "project", "list", environ=own, code=2)
        assert "Traceback" not in refused.stderr and "hunter2" not in refused.stderr


def test_a_hostile_checkout_receives_no_byte(new_cli: Cli, behind: Deployment, house: Served) -> None:
    """Whatever is typed in it: by who is logged in elsewhere, and with a token in the environment."""
    mine = token_of(behind, "guest", "viewer")
    new_cli.ok("login", house.url, "--token", stdin=mine)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        file = new_cli.jobs / ".sealrun.toml"
        file.write_text(f'project = "shop"\nserver = "http://127.0.0.1:{listener.getsockname()[1]}"\n')
        new_cli.job("job.py", "print(1)")
        for words in (
            ("runs", "list"), ("project", "list"), ("run", "job.py"), ("secret", "set", "X"), ("whoami",),
            ("variable", "list"), ("secret", "explain", "job.py"), ("doctor",),
        ):  # fmt: skip
            refused = new_cli(*words, stdin="hunter2-prod-key", environ={"SEALRUN_TOKEN": mine})
            assert refused.returncode and "Traceback" not in refused.stderr, words
            assert "neither logged in there nor allowed the file" in refused.stdout + refused.stderr, words
        new_cli.ok("allow", "--yes")
        refused = new_cli("project", "list", environ={"SEALRUN_TOKEN": mine}, code=2)
        assert "you are not logged in to" in refused.stderr
        with pytest.raises(BlockingIOError):
            listener.accept()
    file.write_text(f'server = "{house.url}/"\n')
    assert json.loads(new_cli.ok("whoami", "--json"))["by"] == str(file), "where one is logged in, it may choose"


def test_what_is_typed_wrongly(new_cli: Cli, tmp_path: Path) -> None:
    """A token on the command line is no option, and half of one is not sent."""
    assert "do not go together" in new_cli("login", "http://127.0.0.1:1", "--device", "--token", code=2).stderr
    refused = new_cli("login", "http://127.0.0.1:1", "--token", stdin="hunter2-half", code=1)
    assert "is not a whole token" in refused.stderr and "hunter2" not in refused.stderr


def test_a_credential_that_is_typed_where_none_belongs_is_not_repeated(new_cli: Cli, house: Served) -> None:
    """Nor by the hint: a log of a pipeline keeps both."""
    token, password = "srn_p" + "a1B2" * 9, "correct-horse-battery"
    for words in (
        ("login", house.url, token),
        ("login", house.url, "--token", token),
        ("logout", token),
        ("member", "add", token, "--role", "viewer", "--installation"),
        ("token", "create", "ci", token, "--role", "viewer", "--installation"),
        ("user", "create", "erin", password),
        ("user", "password", "erin", password),
    ):
        refused = new_cli(*words)
        assert refused.returncode and "hint: " in refused.stderr, words
        assert token not in refused.stdout + refused.stderr and password not in refused.stdout + refused.stderr, words
