"""What scripts rely on in every command: --json answers, and --yes is taken by what changes something."""

import json
from collections.abc import Iterator
from typing import Any

from executor.cli.lazy import COMMANDS, load
from tests.executor.cli.conftest import Cli

STAY = {"demo", "serve", "up", "worker"}
"""They show, or run until they are stopped: there is no answer to wait for."""

READ = {"whoami", "list", "show", "logs", "history", "explain", "verify", "export", "doctor", "workers"}


def commands() -> Iterator[tuple[str, str, set[str]]]:
    """Each command: its name, its last word, and its options."""
    for noun in COMMANDS.keys() - STAY:
        loaded: Any = load(noun)
        for word, command in getattr(loaded, "commands", {noun: loaded}).items():
            yield f"{noun} {word}", word, {spelling for one in command.params for spelling in one.opts}


def test_every_command_answers_in_json_and_takes_yes_where_it_writes() -> None:
    """A script says both everywhere, and need not know which command would ask."""
    found = list(commands())
    assert len(found) > 30
    assert [name for name, _, options in found if "--json" not in options] == []
    assert [name for name, word, options in found if word not in READ and "--yes" not in options] == []


def test_what_a_command_wrote_is_one_document_on_stdout(cli: Cli) -> None:
    """What was made, changed and deleted; the words for people go to stderr, and no value to either."""

    def written(*words: str, stdin: str = "") -> Any:
        ended = cli(*words, "--json", "--yes", stdin=stdin, code=0)
        assert "horse" not in ended.stdout + ended.stderr
        return json.loads(ended.stdout)

    made = written("project", "create", "shop", "-e", "dev")
    assert (made["project"]["name"], made["created"]) == ("shop", True)
    assert [one["environment"]["name"] for one in made["environments"]] == ["default", "dev"]
    assert written("project", "set", "shop", "--max-running", "2")["project"]["max_running"] == 2
    cli.environ["SEALRUN_PROJECT"] = "shop"
    (sealed,) = written("secret", "set", "API_KEY", stdin="correct-horse-battery")["secrets"]
    assert (sealed["name"], sealed["version"], sealed["environment"]) == ("API_KEY", 1, "default")
    written("secret", "set", "API_KEY", stdin="another-horse-battery")
    assert written("secret", "rollback", "API_KEY")["version"] == 1
    assert written("variable", "set", "LEVEL", "debug", "-e", "lab", "--create-env")["created_environments"] == ["lab"]
    source = written("source", "create", "db", "--kind", "postgres", "--url-secret", "API_KEY")
    assert (source["role"], source["missing"]) == ("source", [])
    assert written("key", "create", str(cli.folder / "new.key"))["path"] == str(cli.folder / "new.key")
    rotated = written("key", "rotate")
    assert (rotated["generation"], rotated["resealed"]) == (2, 2)
    assert written("key", "trust", rotated["fingerprint"])["now"]["generation"] == 2
    assert written("key", "rewrap") == {"keys": [], "of": 3}
    assert written("source", "delete", "db")["deleted"] == "source"
    gone = {"deleted": "secret", "project": "shop", "environment": "default", "name": "API_KEY", "notes": []}
    assert written("secret", "delete", "API_KEY") == gone
    assert written("variable", "delete", "LEVEL", "-e", "lab")["deleted"] == "variable"
    assert written("project", "delete", "shop")["deleted"] == "project"
