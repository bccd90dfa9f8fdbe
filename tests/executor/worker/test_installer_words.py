"""What is shown of an installer's words, and the hint in the place of its own."""

import pytest

from executor.worker.installer_words import InstallerWords

TLS = """error: Failed to fetch: https://pypi.org/simple/six/
  cause: invalid peer certificate: UnknownIssuer

hint: Consider enabling use of system TLS certificates with the `--system-certs` command-line flag
"""
STRATEGY = """error: No solution found when resolving dependencies
  cause: there is no version of iniconfig==0.0.1

hint: `iniconfig` was found on https://a.example. If all are equally trusted, use `--index-strategy unsafe-best-match`
      to consider all versions from all indexes.
hint: Something that helps without an option
"""


def said(text: str, size: int = 1 << 20) -> tuple[str, str]:
    """What is shown of a text that comes in pieces of so many bytes, and the end of a failure's message."""
    words, data = InstallerWords(), text.encode()
    shown = b"".join(words.take(data[at : at + size]) for at in range(0, len(data), size)) + words.finish()
    return shown.decode(), words.last(2000)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_hint_that_names_an_option_of_uvs_is_ours_instead(size: int) -> None:
    """However it comes in pieces; what uv says besides is shown as it is."""
    shown, message = said(TLS, size)
    assert shown == TLS.partition("hint:")[0]
    assert message.startswith(f"{shown.strip()}\n  hint: ") and "SSL_CERT_FILE where the worker is started" in message
    shown, message = said(STRATEGY, size)
    assert shown == f"{STRATEGY.partition('hint:')[0]}hint: Something that helps without an option\n"
    assert "hint: if all indexes are to be trusted equally: sealrun variable set UV_INDEX_STRATEGY" in message
    assert "--index-strategy" not in shown + message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("cause: HTTP status client error (401 Unauthorized)", "--setup-secret UV_INDEX_"),
        ("cause: client error (Connect)\n  cause: dns error", "HTTPS_PROXY where the worker is started"),
        ("error: x\nhint: pass `--some-flag`", "uv's settings are given as variables"),
        ("error: x was not found in the package registry", None),
    ],
)
def test_what_a_worker_or_a_variable_can_mend_has_a_hint(text: str, hint: str | None) -> None:
    """Also where uv has none; and none where we know no better."""
    message = said(text)[1]
    assert (hint in message) if hint else ("hint:" not in message)


def test_a_line_without_an_end_is_not_waited_for() -> None:
    """Nor held in memory; the end of the words, from the beginning of a line, is what a message has room for."""
    words = InstallerWords()
    assert len(words.take(b"x" * (1 << 20))) == (1 << 20) + 1
    assert words.take(b"first\nlast\n") and words.finish() == b""
    assert words.last(8) == "last"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Resolved 60 packages in 708ms\nUsing Python 3.11\nerror: Failed to build\n  cause: it broke\n\n[stderr]\n"
            "last\n",
            "error: Failed to build\n  cause: it broke\n  [stderr]\n  last",
        ),
        (
            "Resolved 60 packages in 708ms\n  \u00d7 Failed to build `x`\n  \u251c\u2500\u25b6 it broke\n",
            "\u00d7 Failed to build `x`\n  \u251c\u2500\u25b6 it broke",
        ),
        ("error: one\nerror: two\n", "error: two"),
        ("no word of an error\nat all\n", "no word of an error\n  at all"),
    ],
)
def test_a_message_is_the_last_error_in_lines_of_its_own(text: str, message: str) -> None:
    """Each but the first indented, so that it is shown as a line, and is taken for none of ours."""
    assert said(text)[1] == message
