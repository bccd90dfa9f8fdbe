"""The reader of .env and JSON files, against python-dotenv's own and against noise."""

import json
from io import StringIO

import pytest
from dotenv import dotenv_values
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.cli.typed import pairs
from tests.effort import share

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
