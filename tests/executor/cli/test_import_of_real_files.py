"""`secret import` of files as people have them: all of it at once, secrets sealed, plain configuration shown."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.cli.typed import pairs
from secretstore.plain_values import has_no_value
from tests.executor.cli.conftest import CHECKOUT, Cli

REAL = CHECKOUT / "tests" / "executor" / "operations" / "import_corpus" / "real"
FILES = sorted(path.name for path in REAL.glob("*.env"))
HINT = "hint: import the rest without the refused names: --skip-refused"


@pytest.fixture(scope="module")
def shop(cli: Cli) -> Iterator[Cli]:
    """An empty project."""
    cli.ok("project", "create", "shop", "-e", "staging")
    cli.environ["SEALRUN_PROJECT"] = "shop"
    yield cli


def kind_of(name: str, value: str) -> str:
    """What the corpus says of a value, see its README."""
    if has_no_value(name, value):
        return "skipped"
    return "skipped" if "refused" in value else "secret" if "canary" in value.lower() else "variable"


@pytest.mark.parametrize("name", FILES)
def test_all_that_may_be_is_imported_and_nothing_secret_is_shown(shop: Cli, name: str) -> None:
    """I10: each name is what it should be, the plan has a reason for each variable, and the rest is one line each."""
    wanted = {
        pair.name: kind_of(pair.name, pair.value) for pair in pairs.parse((REAL / name).read_bytes(), "env").pairs
    }
    ended = shop("secret", "import", str(REAL / name), "--skip-refused", "--dry-run", "--json", code=0)
    plan = json.loads(ended.stdout)

    found = {one["name"]: one["kind"] for one in plan["entries"]}
    skipped = {one["name"]: "skipped" for one in plan["skipped"]}
    assert not found.keys() & skipped.keys()
    assert found | skipped == wanted
    assert all(
        one["reason"] and (one["value"] or one["reason"] == "empty")
        for one in plan["entries"]
        if one["kind"] == "variable"
    )
    assert "canary" not in (ended.stdout + ended.stderr).lower()
    assert [line for line in ended.stderr.splitlines() if line.startswith("skipped: ")] == [
        f"skipped: {one['place']}: {one['why']}" for one in plan["skipped"]
    ]


def test_there_are_enough_of_them() -> None:
    """Ten frameworks and more."""
    assert len(FILES) >= 10


def test_a_refused_name_is_told_with_the_way_on_and_the_rest_is_there_for_a_run(shop: Cli, tmp_path: Path) -> None:
    """Without --skip-refused nothing is written; with it a run finds all the others."""
    file = tmp_path / "x.env"
    file.write_text("PATH=/bin\nexport DB_HOST='db.internal'\nDB_PASS=\"canary\"\nEDITOR=vi\nEDITOR=nano\nPORT=5432\n")
    refused = shop("secret", "import", str(file), "--yes", code=1)
    _, *problems, hint = refused.stderr.splitlines()
    assert len(problems) == 4 and hint.startswith(HINT)
    assert problems[2] == "  line 5: EDITOR stands in line 4 already: remove one of the two"
    assert problems[3].startswith('  line 5: the name "EDITOR" is refused: programs run it as an editor')
    assert shop.ok("secret", "list") == shop.ok("variable", "list") == ""

    ended = shop("secret", "import", str(file), "--yes", "--skip-refused", code=0)
    assert ended.stdout.splitlines() == [
        "DB_HOST\tvariable new\tdb.internal\ta host",
        "DB_PASS\tnew secret\t\t",
        "PORT\tvariable new\t5432\ttoo short to be masked",
    ]
    assert [line[:30] for line in ended.stderr.splitlines()[:3]] == [
        'skipped: line 1: the name "PAT',
        'skipped: line 4: the name "EDI',
        'skipped: line 5: the name "EDI',
    ]
    script = 'test "$DB_HOST:$DB_PASS:$PORT:${EDITOR-none}" = db.internal:canary:5432:none'
    shop.ok("run", "--", "sh", "-c", script)


def test_what_else_is_wrong_comes_before_the_way_on(shop: Cli) -> None:
    """With --skip-refused alone it would be refused again."""
    given = "PATH=/bin\nA_TOKEN=canary-1st\nA_TOKEN=canary-2nd\n"
    said = shop("secret", "import", "-", "-e", "staging", "--yes", stdin=given, code=1).stderr
    assert "line 3: A_TOKEN stands in line 2 already: remove one of the two\n" in said
    assert said.splitlines()[-1].startswith(
        "hint: mend the other lines first; then import the rest without the refused"
    )


def test_only_refused_names_are_nothing_to_change(shop: Cli) -> None:
    """And no other mistake is passed over with them."""
    only = shop("secret", "import", "-", "-e", "staging", "--yes", "--skip-refused", stdin="PATH=/bin\n", code=0)
    assert only.stderr.endswith("nothing to change in shop/staging\n")
    given = "PATH=/bin\nno pair\n"
    broken = shop("secret", "import", "-", "--yes", "--skip-refused", stdin=given, code=1).stderr
    assert "line 2: there is no = in it" in broken and "hint" not in broken and "PATH" not in broken
