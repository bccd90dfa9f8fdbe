"""docs/reference/connections.md: every field and option, its files are taken, its sentences are said."""

import json
import re
import tomllib

import pytest

from secretstore import connections
from secretstore.connections import check, fields_of, kinds
from tests.executor.cli.conftest import CHECKOUT, Cli

PAGE = (CHECKOUT / "docs" / "reference" / "connections.md").read_text()
MISTAKES = PAGE.split("\n## When something is wrong\n")[1].split("\n## ")[0]
KINDS = [(role, kind) for role in ("source", "catalog") for kind in kinds(role)]
LAKE = ("source", "create", "lake", "--kind", "s3")
MAIN = ("catalog", "create", "main", "--kind", "iceberg-rest", "--endpoint", "http://127.0.0.1:8181")
FILES = {
    "mistyped.json": '{"kind": "s3", "bucket": "lake", "regoin": "eu-central-1"}',
    "value.json": '{"kind": "s3", "bucket": "lake", "credentials": "AKIAIOSFODNN7EXAMPLE"}',
    "two.json": '{"kind": "s3", "bucket": "lake", "credentials": {"$secret": "A"}, "session_token": {"$secret": "B"}}',
    "lake.toml": 'kind = "s3"\nbucket = lake\n',
}
MADE = {
    "a field that is mistyped": ("source", "create", "lake", "--file", "mistyped.json"),
    "a field that is missing": LAKE,
    "a value in the place of a secret": ("source", "create", "lake", "--file", "value.json"),
    "a token in the place of a secret's name": (*MAIN, "--token-secret", "dapi0123456789abcdef0123456789abcdef"),
    "a password in a URL": (*LAKE, "--bucket", "lake", "--endpoint", "https://ada:pa55@s3.example"),
    "an unknown kind": ("source", "create", "lake", "--kind", "s4"),
    "an option of another kind": ("source", "create", "lake", "--kind", "postgres", "--bucket", "lake"),
    "two ways at once": ("source", "create", "lake", "--file", "two.json"),
    "a source without a bucket": (*MAIN, "--source", "db"),
    "a second one of the name": (*LAKE, "--bucket", "lake"),
    "a name of another form": ("source", "create", "My_Lake", "--kind", "s3", "--bucket", "lake"),
    "a file that is none": ("source", "create", "lake", "--file", "lake.toml"),
    "a secret that is named": ("secret", "delete", "LAKE_CREDS", "--yes"),
}


def tables() -> dict[str, list[list[str]]]:
    """The rows under each kind, without the headings."""
    found: dict[str, list[list[str]]] = {}
    for part in re.split(r"^\*\*`", PAGE, flags=re.M)[1:]:
        kind, _, rest = part.partition("`**")
        rows = [line.strip("| ").split(" | ") for line in rest.split("\n#")[0].splitlines() if line.startswith("|")]
        found[kind] = rows[2:]
    return found


@pytest.mark.parametrize(("role", "kind"), KINDS)
def test_every_field_is_in_the_table(role: str, kind: str) -> None:
    """Those that are necessary are bold."""
    written = [name for row in tables()[kind] for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(written) == sorted(fields_of(role, kind))
    bold = {name for row in tables()[kind] for name in re.findall(r"\*\*`(\w+)`\*\*", row[0])}
    necessary = {name for name, field in connections._KINDS[role][kind].model_fields.items() if field.is_required()}
    assert bold - {"project", "endpoint"} == necessary - {"project", "endpoint"}


@pytest.mark.parametrize("role", ["source", "catalog"])
def test_every_option_is_there(cli: Cli, role: str) -> None:
    """And the page leaves none out."""
    offered = set(re.findall(r"--[a-z0-9-]+", cli.ok(role, "create", "--help")))
    written = {
        option for kind in kinds(role) for row in tables()[kind] for option in re.findall(r"--[a-z0-9-]+", row[1])
    }
    general = {"--kind", "--file", "--replace", "--project", "--environment", "--json", "--yes", "--help"}
    assert written == offered - general


def test_the_files_are_taken() -> None:
    """As they stand."""
    toml = tomllib.loads(PAGE.split("```toml\n")[1].split("```")[0])
    check("source", "lake", toml.pop("kind"), toml)
    document = json.loads(PAGE.split("```json\n")[1].split("```")[0])
    check("catalog", "main", document.pop("kind"), document)


@pytest.fixture(scope="module")
def lake(shop: Cli) -> Cli:
    """What the page's mistakes are made about."""
    for name, text in FILES.items():
        shop.job(name, text)
    shop.ok("secret", "set", "LAKE_CREDS", stdin='{"aws_access_key_id": "a", "aws_secret_access_key": "b"}')
    shop.ok(*LAKE, "--bucket", "lake", "--credentials-secret", "LAKE_CREDS")
    shop.ok("source", "create", "db", "--kind", "postgres", "--url-secret", "DATABASE_URL")
    return shop


@pytest.mark.parametrize(
    ("mistake", "said"), re.findall(r"^\| (an? [^|]*|two ways at once) \| `(.*?)`[,;]? ?", MISTAKES, flags=re.M)
)
def test_the_mistake_is_answered_as_the_page_says(lake: Cli, mistake: str, said: str) -> None:
    """With the exit code that it says."""
    told = lake(*MADE[mistake])
    assert told.stderr.splitlines()[0] == f"sealrun: {said}"
    assert told.returncode == (1 if "exists already" in said or "is named by" in said else 2)


def test_every_mistake_of_the_page_is_made() -> None:
    """None is left out above."""
    written = PAGE.split("| mistake | what is said |")[1].split("\n\n")[0].splitlines()[2:]
    assert [line.split(" | ")[0].strip("| ") for line in written] == list(MADE)
