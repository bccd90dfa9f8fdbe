"""A plan and its carrying out, on both databases; and the reader, against python-dotenv's own and against noise."""

import json
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.operations import importing, pairs
from executor.operations.importing import Wishes
from secretstore import vault
from secretstore.database import Database
from secretstore.errors import NameRefused
from secretstore.local_keys import LocalKeys
from secretstore.reveal import reveal
from tests.effort import share
from tests.executor.explain.test_preview import ACTOR, Shop

CORPUS = Path(__file__).parent / "import_corpus"


@pytest.fixture
def shop(db: Database, tmp_path: Path) -> Shop:
    return Shop(db, tmp_path)


def planned(shop: Shop, text: str, **wishes: object) -> importing.Plan:
    reading = pairs.parse(text.encode(), "env")
    return importing.plan(shop.db, "shop", "default", reading, Wishes(**wishes))  # type: ignore[arg-type]


def carried_out(shop: Shop, plan: importing.Plan) -> None:
    assert plan.problems == ()
    vault.store(shop.db, "shop", plan.to_store(), actor=ACTOR, pins=shop.pins)


def test_a_plan_comes_true(shop: Shop, tmp_path: Path) -> None:
    """Names, kinds and versions are stored as they were shown; a run is given the values as they stood in the file."""
    first = planned(shop, "PORT=1\nKEY='two\nlines of it'\nURL=https://${HOST}/\n")
    carried_out(shop, first)
    second = planned(shop, "PORT=1\nKEY=another-one\nLEVEL=2\n")
    assert [(one.name, one.kind, one.change, one.version) for one in second.entries] == [
        ("PORT", "variable", "unchanged", None),
        ("KEY", "secret", "version", 2),
        ("LEVEL", "variable", "new", None),
    ]
    carried_out(shop, second)
    assert {one.name: one.version for one in vault.list_secrets(shop.db, "shop", "default")} == {"KEY": 2, "URL": 1}
    assert {one.name: one.value for one in vault.list_variables(shop.db, "shop")} == {"PORT": "1", "LEVEL": "2"}
    place = vault.get_environment(shop.db, "shop", "default")
    with shop.db.writing() as session:
        bundle = vault.sealed_bundle(session, place.id, None)
    opened = {item.name: value for item, value in reveal(LocalKeys(tmp_path / "keys" / "local.key"), bundle)}
    assert opened == {"KEY": b"another-one", "URL": b"https://${HOST}/"}


def test_after_a_rollback_the_next_version_is_the_newest_and_one(shop: Shop) -> None:
    """And not the current one and one."""
    for value in (b"correct-horse-1", b"correct-horse-2", b"correct-horse-3"):
        shop.store({"KEY": value})
    vault.rollback(shop.db, "shop", "default", "KEY", to=1, actor=ACTOR)
    (one,) = planned(shop, "KEY=correct-horse-4\n").entries
    assert one.version == 4


def test_what_changes_between_plan_and_writing_stops_all_of_it(shop: Shop) -> None:
    """A variable that somebody makes meanwhile: nothing of the import is stored."""
    plan = planned(shop, "FIRST=correct-horse\nTAKEN=correct-horse\n")
    shop.store({}, {"TAKEN": "x"})
    with pytest.raises(NameRefused):
        carried_out(shop, plan)
    assert vault.list_secrets(shop.db, "shop") == []


def test_a_plan_shows_no_value(shop: Shop) -> None:
    """I10: in a traceback or a log, of secrets and of variables."""
    plan = planned(shop, "KEY=correct-horse\nPORT=8081\n")
    assert "horse" not in repr(plan) and "8081" not in repr(plan)
    assert "horse" not in repr(pairs.parse(b"KEY=correct-horse\n", "env"))


_TEXT = st.text(st.characters(exclude_characters="\0\r", exclude_categories=("Cs",)), max_size=30)


@settings(max_examples=share(200), deadline=None)
@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,9}", fullmatch=True), _TEXT, min_size=1))
def test_any_value_comes_through_quotes_and_json(values: dict[str, str]) -> None:
    """Byte for byte, whatever it is."""
    quoted = "".join(
        f"{name}='" + value.replace("\\", "\\\\").replace("'", "\\'") + "'\n" for name, value in values.items()
    )
    for content, kind in ((quoted, "env"), (json.dumps(values), "json")):
        reading = pairs.parse(content.encode(), kind)  # type: ignore[arg-type]
        assert reading.problems == ()
        assert {pair.name: pair.value for pair in reading.pairs} == values


_PIECES = st.lists(
    st.sampled_from(["A", "B2", "export ", "=", "'", '"', "#", " ", "\n", "\r\n", "\\", "$", "{", "canary", "ü", "\t"])
)


@settings(max_examples=share(400), deadline=None)
@given(_PIECES.map("".join))
def test_the_grammar_is_python_dotenvs_and_a_broken_line_is_never_quoted(text: str) -> None:
    """I10: what it takes is what the library takes, what it refuses has a line of the file and none of its words."""
    reading = pairs.parse(text.encode(), "env")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for problem in reading.problems:
        number = int(problem.place.removeprefix("line "))
        assert lines[number - 1].strip()
        assert "canary" not in str(problem) and "ü" not in str(problem)
    if not reading.problems:
        theirs = dotenv_values(stream=StringIO(text.replace("\r\n", "\n")), interpolate=False)
        assert {pair.name: pair.value for pair in reading.pairs} == theirs


@settings(max_examples=share(200), deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_noise_ends_in_problems_and_never_in_an_exception(content: bytes) -> None:
    """As either format."""
    for kind in ("env", "json"):
        for problem in pairs.parse(content, kind).problems:  # type: ignore[arg-type]
            assert problem.why


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("x.json", b"A=1", "json"),
        ("x.env", b"{", "env"),
        (".env", b"{", "env"),
        (".env.production", b"A=1", "env"),
        ("-", b" \n{", "json"),
        ("-", b"\xef\xbb\xbf{", "json"),
        ("-", b"[1]", "json"),
        ("-", b"A={", "env"),
        ("-", b"", "env"),
    ],
)
def test_the_format_is_told_by_name_and_else_by_the_beginning(path: str, content: bytes, kind: str) -> None:
    """--format says otherwise."""
    assert pairs.format_of(path, content) == kind
