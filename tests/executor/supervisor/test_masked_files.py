"""An executed notebook and the page of it: masked where they hold a secret, and withheld where that is not enough."""

import html
import json
from typing import Any

import pytest

from executor.masking.masker import Masker
from executor.supervisor.masked_files import MARKS_LIMIT, NOTEBOOK_LIMIT, notebook, of_target, page

KEY = "hunter2-prod-key"
ODD = 'p&ss<w>0rd"x-1234'
PEM = "-----BEGIN KEY-----\nabcdefgh12345678\nijklmnop87654321\n-----END KEY-----\n"
MASKER = Masker.build({"API_KEY": KEY.encode(), "ODD": ODD.encode(), "PEM": PEM.encode()})


def book(*outputs: Any, source: str = "print(key)") -> dict[str, Any]:
    cell = {"cell_type": "code", "metadata": {}, "source": source, "outputs": list(outputs), "execution_count": 1}
    return {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def of_book(document: Any) -> bytes:
    return json.dumps(document, indent=1).encode()


def test_only_what_a_notebook_leaves_is_masked() -> None:
    """By its name; what else a run leaves is withheld where it holds a secret, as ever."""
    assert of_target({"kind": "notebook", "path": "a/report.ipynb"}) == {"report.ipynb": notebook, "report.html": page}
    assert of_target({"kind": "file", "path": "report.ipynb"}) == {}


@pytest.mark.parametrize("secret", [KEY, ODD, PEM])
def test_a_notebook_is_masked_cell_by_cell(secret: str) -> None:
    """I5: in outputs, sources and tracebacks, of several lines too; it is still a notebook, with all the rest in it."""
    error = {"output_type": "error", "ename": "KeyError", "evalue": secret, "traceback": [f"KeyError: {secret!r}"]}
    result = {"output_type": "execute_result", "data": {"text/plain": repr(secret)}, "metadata": {}}
    found = notebook(
        of_book(book(stream(f"before\n{secret}\nafter\n"), result, error, source=f"x = {secret!r}")), MASKER
    )
    assert found is not None and not MASKER.finds([found])
    (cell,) = json.loads(found)["cells"]
    assert cell["outputs"][0]["text"].startswith("before\n***") and cell["outputs"][0]["text"].endswith("after\n")
    assert (cell["outputs"][2]["ename"], cell["outputs"][2]["evalue"].strip()) == ("KeyError", "***")


def test_what_has_no_secret_is_given_as_it_is() -> None:
    """Byte for byte, whatever it is."""
    plain = of_book(book(stream("hunter2")))
    assert notebook(plain, MASKER) == plain
    for data in (b"no JSON", b"\xff\xfe", b"[" * 100_000, b"<p>x</p>\0"):
        assert notebook(data, MASKER) == data
        assert page(data, MASKER) == data


def test_a_notebook_that_cannot_be_masked_is_withheld() -> None:
    """I5: no JSON, nested too deep, or a secret that lies across texts."""
    lines = {"cells": PEM.splitlines(keepends=True)[1:3], "key": "prod"}
    across = Masker.build({"ODD": b'"cells": [\n  "abcdefgh'})
    assert notebook(f"not JSON: {KEY}".encode(), MASKER) is None
    assert notebook(f'{"[" * 100}"{KEY}"{"]" * 100}'.encode(), MASKER) is None
    assert notebook(of_book(lines), across) is None


@pytest.mark.parametrize("secret", [KEY, ODD])
def test_a_page_is_masked_as_a_reader_sees_it(secret: str) -> None:
    """I5: as text and with entities; where tags lie within a secret, the page is withheld."""
    written = html.escape(secret)
    assert page(f"<pre>a {written} b</pre>".encode(), MASKER) == b"<pre>a *** b</pre>"
    split = html.escape(secret[:9]) + "</span><span class='k'>" + html.escape(secret[9:])
    assert page(f"<pre><span>{split}</span></pre>".encode(), MASKER) is None
    assert page(f"<pre>{''.join(f'&#{ord(letter)};' for letter in secret)}</pre>".encode(), MASKER) is None
    assert page(f"<pre>{written}</pre>\0".encode(), MASKER) is None


@pytest.mark.parametrize(
    "data",
    [b'{"a":[]},' * (MARKS_LIMIT // 4 + 1), b'"' + b"x" * NOTEBOOK_LIMIT + b'"'],
    ids=["too many values", "too large"],
)
def test_a_notebook_that_would_take_too_much_is_not_parsed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """I5: a value takes a hundred times its text; the notebook is searched as it is, as any file that is not masked."""

    def refuse(_: object) -> None:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(json, "loads", refuse)
    assert notebook(b"[" + data + b"0]", MASKER) == b"[" + data + b"0]"
    assert notebook(b"[" + data + of_book(KEY) + b"]", MASKER) is None


def test_a_page_that_cannot_be_read_as_a_reader_does_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more digits than Python converts, or of more tags and entities than can be resolved: before they are."""
    with pytest.raises(ValueError, match="digits"):
        page(b"<p>&#" + b"9" * 5_000 + b";</p>", MASKER)

    def refuse(_: object) -> None:
        raise AssertionError("it was resolved")

    monkeypatch.setattr(html, "unescape", refuse)
    with pytest.raises(ValueError, match="tags and entities"):
        page(b"<p>&amp;" * (MARKS_LIMIT // 2 + 1), MASKER)
