"""What scripts rely on in every command about what is kept: --json answers, and --yes is taken."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from executor.cli.lazy import load
from tests.executor.cli.conftest import Cli

NOUNS = ("project", "secret", "variable", "source", "catalog", "key", "audit")
READS = {"list", "history", "explain", "verify"}


def commands() -> Iterator[tuple[str, str, Any]]:
    for noun in NOUNS:
        for word, command in load(noun).commands.items():
            yield noun, word, command


@pytest.mark.parametrize(
    ("noun", "word", "command"), list(commands()), ids=lambda part: str(getattr(part, "name", part))
)
def test_every_command_answers_in_json_and_takes_yes_where_it_writes(noun: str, word: str, command: Any) -> None:
    """A script says both everywhere, and need not know which command would ask."""
    options = {spelling for parameter in command.params for spelling in parameter.opts}
    assert "--json" in options
    assert word in READS or "--yes" in options


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
