"""What tools print by themselves, against the tools: markup, quoted text, URLs, and one of these in another."""

import base64
import configparser
import csv
import html
import io
import json
import os
import quopri
import shutil
import sqlite3
import subprocess
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Callable
from http.cookies import SimpleCookie
from xml.sax.saxutils import escape, quoteattr

import jinja2
import markupsafe
import psycopg.sql
import pytest
import requests
import sqlalchemy
import urllib3.util
import werkzeug.http
import yaml

from executor.masking.encodings import LONG
from executor.masking.masker import Masker
from executor.masking.needles import AS_IT_IS, needles_for

VALUES = [
    "tok&<q>\"x'9\\z end",
    "p@ss:w/rd?&=+#1",
    "it's-a-Secret",
    '100%-$ure^|~[x]{y}"z',
    "żółć-ключ-鍵-ñ",
    'quo"te back\\slash é',
    "pä\"ss'w\\ord",
    "ab,cd;ef==",
    "abcdefgh+/xyz==",
    "tab\tand\rline-end",
    "esc\x1bdel\x7fbell\x07 é",
]


def element(text: str | None = None, **attributes: str) -> str:
    """An element as ElementTree writes it in ASCII."""
    made = ET.Element("E", attributes)
    made.text = text
    return ET.tostring(made).decode()


def csv_line(text: str) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerow(["a", text])
    return out.getvalue()


def cookie(text: str) -> str:
    jar: SimpleCookie = SimpleCookie({"a": text})
    return jar.output()


def ini(text: str) -> str:
    config = configparser.ConfigParser()
    config["a"] = {"k": text.replace("%", "%%")}
    out = io.StringIO()
    config.write(out)
    return out.getvalue()


def sent(url: str, **data: object) -> requests.PreparedRequest:
    return requests.Request("POST", url, **data).prepare()  # type: ignore[arg-type]


def template(source: str) -> Callable[[str], str]:
    return lambda text: jinja2.Environment().from_string(source).render(v=text)


def login(text: str) -> str:
    return sqlalchemy.URL.create("postgresql", "u", text, "h").render_as_string(hide_password=False)


TOOLS: dict[str, Callable[[str], str]] = {
    # Markup
    "html": html.escape,
    "html, text": lambda text: html.escape(text, quote=False),
    "saxutils": escape,
    "saxutils, attribute": quoteattr,
    "ElementTree, text": element,
    "ElementTree, attribute": lambda text: element(k=text),
    "stderr in ASCII": lambda text: text.encode("ascii", "backslashreplace").decode(),
    "xmlcharrefreplace": lambda text: text.encode("ascii", "xmlcharrefreplace").decode(),
    "html, in ASCII": lambda text: html.escape(text).encode("ascii", "xmlcharrefreplace").decode(),
    "markupsafe": lambda text: str(markupsafe.escape(text)),
    # Quoted
    "csv": csv_line,
    "SQLite": lambda text: sqlite3.connect(":memory:").execute("SELECT quote(?)", (text,)).fetchone()[0],
    "psycopg": lambda text: psycopg.sql.Literal(text).as_string(None).removeprefix(" E"),
    "YAML": lambda text: yaml.dump({"k": text}, default_style="'"),
    "YAML, double quotes": lambda text: yaml.dump({"k": text}, default_style='"'),
    "YAML, not escaped": lambda text: yaml.dump({"k": text}, default_style="'", allow_unicode=True),
    "cookies": cookie,
    "werkzeug's cookies": lambda text: werkzeug.http.dump_cookie("a", text),
    "quopri": lambda text: quopri.encodestring(text.encode()).decode(),
    "configparser": ini,
    "jinja's tojson": template("{{ v|tojson }}"),
    # URLs
    "jinja's urlencode": template("{{ v|urlencode }}"),
    "SQLAlchemy": login,
    "requests, query": lambda text: sent("http://h/", params={"q": text}).url or "",
    "requests, in a URL": lambda text: sent("http://h/?q=" + text).url or "",
    "requests, form": lambda text: str(sent("http://h/", data={"q": text}).body),
    "requests, JSON": lambda text: sent("http://h/", json={"q": text}).body.decode(),  # type: ignore[union-attr]
    # One in another
    "URL in a query": lambda text: urllib.parse.urlencode({"q": "http://h/?" + urllib.parse.urlencode({"q": text})}),
    "URL in a page": lambda text: html.escape("http://h/?a=1&" + urllib.parse.urlencode({"q": text})),
    "URL of requests in a page": lambda text: html.escape(sent("http://h/?q=" + text).url or ""),
    "JSON in a query": lambda text: urllib.parse.urlencode({"q": json.dumps({"k": text})}),
    "JSON in JSON": lambda text: json.dumps({"a": json.dumps({"k": text})}),
    "JSON in JSON, not escaped": lambda text: json.dumps(json.dumps([text], ensure_ascii=False), ensure_ascii=False),
    "JSON in CSV": lambda text: csv_line(json.dumps({"k": text})),
    "JSON in SQL": lambda text: "'" + json.dumps({"k": text}).replace("'", "''") + "'",
    "JSON in a page": lambda text: html.escape(json.dumps({"k": text})),
    "JSON in a page of markupsafe": lambda text: str(markupsafe.escape(json.dumps({"k": text}))),
    "repr of JSON": lambda text: repr(json.dumps({"k": text})),
    "repr in JSON": lambda text: json.dumps({"message": f"no login with {text!r}"}),
    "repr of repr": lambda text: repr([repr([text])]),
    "repr in a page": lambda text: html.escape(repr({"k": text})),
    "repr in XML": lambda text: escape(repr({"k": text})),
    "page in JSON": lambda text: json.dumps({"html": html.escape(text)}),
    "repr of a page": lambda text: repr(html.escape(text)),
    "page in a page": lambda text: html.escape(html.escape(text)),
}


def bare(text: str) -> str:
    """Without quotes and what escapes them: a tool may choose them by the value."""
    for entity in ("&quot;", "&#34;", "&#x27;", "&#39;", "%22"):
        text = text.replace(entity, "").replace(html.escape(entity), "")
    return text.translate(str.maketrans("", "", "\"'`\\")).strip()


def is_taken(tool: str, value: str) -> bool:
    """Whether the tool takes such a value, and prints text."""
    if tool in ("requests, in a URL", "URL of requests in a page"):
        return value.isprintable() and "#" not in value
    if "ElementTree" in tool or "YAML" in tool or tool == "configparser":
        return all(char.isprintable() for char in value)
    return "cookies" not in tool or "\x1b" not in value


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_prints_it_in_no_form(tool: str) -> None:
    """I5: whatever the tool puts around the value is there, and of the value nothing but a mask."""
    write = TOOLS[tool]
    around = bare(write("placeholder")).replace("placeholder", "***")
    for value in VALUES:
        if is_taken(tool, value):
            masked = Masker.build({"VALUE": value.encode()}).mask(write(value).encode()).decode()
            assert bare(masked) == around, value


@pytest.mark.parametrize("value", VALUES)
def test_base64_of_json_that_holds_it(value: str) -> None:
    """I5: at each alignment, as in the payload of a token or a Docker configuration, in both alphabets."""
    masker = Masker.build({"VALUE": value.encode()})
    for before in ("", "a", "ab"):
        for ascii_only in (True, False):
            raw = json.dumps({before: value}, ensure_ascii=ascii_only).encode()
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                out = masker.mask(encode(raw))
                assert b"***" in out
                assert len(out) <= len(encode(b'{"": ""}' + before.encode())) + len("***") + 4


# Tools that may not be here: what each leaves as it is was read in its source or its documentation, or seen.
KEPT = {
    "yarl's login": "_.-~!$&'()*+,;=",
    "Java's login, urllib3's": "_.-~!$&'()*+,;=:",
    "Go's login": "_.-~$&+,;=",
    "login in browsers, Node and httpx": "_.-~!$%&'()*+,",
    "path in yarl and Java": "_.-~!$&'()*+,;=:@/",
    "Go's PathEscape": "_.-~$&+:=@",
    "path in Django": "_.-~!*'();/?:@&=+$,#%[]",
    "URL of httpx": "_.-~!*'();/?:@&=+$,#%[]\\^`{|}",
    "query in browsers": "_.-~!*();/?:@&=+$,#%[]\\^`{|}",
}
KEPT_WITH_PLUS = {
    "query in yarl": "_.-~!$'()*,/:?@",
    ".NET's UrlEncode": "_.-!*()",
    "PHP's urlencode": "_.-",
}


@pytest.mark.parametrize("value", VALUES)
def test_percent_encoded_in_part(value: str) -> None:
    """I5: by the rules of URL libraries, which leave what is allowed in that place."""
    found = needles_for(value.encode()).keys()
    for tool, kept in KEPT.items():
        assert urllib.parse.quote(value, safe=kept).encode() in found, tool
    for tool, kept in KEPT_WITH_PLUS.items():
        # `quote` always leaves a tilde.
        form = urllib.parse.quote_plus(value, safe=kept).replace("~", "~" if "~" in kept else "%7E")
        assert form.encode() in found, tool
    lower = urllib.parse.quote_plus(value, safe="!*()").replace("~", "%7E").encode()
    first, *rest = lower.split(b"%")
    assert b"%".join([first, *(part[:2].lower() + part[2:] for part in rest)]) in found  # .NET's HttpUtility
    assert value.replace(":", "%3A").replace("@", "%40").replace("/", "%2F").encode() in found  # SQLAlchemy 1.4
    assert urllib3.util.parse_url(f"http://u:{urllib.parse.quote(value, safe='')}@h/").auth


SPELLED = {
    # Go's html/template, and encoding/xml
    "a+b&c\"d'e<f": ["a&#43;b&amp;c&#34;d&#39;e&lt;f"],
    "tab\tnew\nline-&-\"'": [
        "tab&#x9;new&#xA;line-&amp;-&#34;&#39;",  # Go's encoding/xml
        "tab&#9;new&#10;line-&amp;-&quot;'",  # an attribute in lxml and Java
        "tab&#09;new&#10;line-&amp;-&quot;'",  # and in ElementTree
    ],
    # .NET, PHP, Ruby; XML; Perl
    "x\"y'&-secret": ["x&quot;y&#39;&amp;-secret", "x&quot;y&#039;&amp;-secret", "x&quot;y&apos;&amp;-secret"],
    "é<secret>": ["&#xE9;&lt;secret&gt;", "&#xe9;&lt;secret&gt;", "&#233;<secret>"],
    # MySQL, PostgreSQL's E''
    'it\'s "so"\\\n\x1a-': ['it\\\'s \\"so\\"\\\\\\n\\Z-', "it''s \"so\"\\\\\n\x1a-"],
    # .NET, Gson
    "<a&b>='c\"+`é": [
        "\\u003Ca\\u0026b\\u003E=\\u0027c\\u0022\\u002B\\u0060\\u00E9",
        '\\u003ca\\u0026b\\u003e\\u003d\\u0027c\\"+`é',
    ],
    # docker compose, make, systemd
    "p$ss%word": ["p$$ss%word", "p$ss%%word"],
    # Go, Ruby, Rust, Node, C and git, Rust's bytes, PyYAML
    "\x1b\x07é\"'🔑-key": [
        "\\x1b\\aé\\\"'🔑-key",
        "\\e\\aé\\\"'🔑-key",
        "\\u{1b}\\u{7}é\\\"'🔑-key",
        "\\u{1b}\\u{7}\\u{e9}\\\"\\'\\u{1f511}-key",
        "\\x1B\\x07é\"'🔑-key",
        "\\033\\a\\303\\251\\\"'\\360\\237\\224\\221-key",
        "\\x1b\\x07\\xc3\\xa9\\\"\\'\\xf0\\x9f\\x94\\x91-key",
        "\\e\\a\\xE9\\\"'\\U0001F511-key",
    ],
}


@pytest.mark.parametrize("value", SPELLED)
def test_forms_of_tools_that_may_not_be_here(value: str) -> None:
    """I5: as other languages write it."""
    masker = Masker.build({"VALUE": value.encode()})
    for form in SPELLED[value]:
        assert masker.mask(b"<" + form.encode() + b">") == b"<***>", form


def test_as_node_shows_it() -> None:
    """I5: `console.log` of a text and an object, JSON in JSON, and its URLs."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node on this machine")
    script = """for (const v of JSON.parse(process.env.VALUES)) {
        const u = new URL("http://h/"); u.username = "u"; u.password = v; u.searchParams.set("q", v);
        console.log(JSON.stringify([require("util").inspect([v], {breakLength: Infinity}), u.href,
            JSON.stringify(JSON.stringify(v)), encodeURI(v), new URL("http://h/?q=" + v).href].join(" ")));
    }"""
    values = [value for value in VALUES if "\t" not in value and "#" not in value]
    done = subprocess.run(
        [node, "-e", script], env={**os.environ, "VALUES": json.dumps(values)}, capture_output=True, check=True
    )
    for value, line in zip(values, done.stdout.splitlines(), strict=True):
        out = Masker.build({"VALUE": value.encode()}).mask(json.loads(line).encode()).decode()
        assert bare(out) == "[ *** ] http://u:***@h/?q=*** *** *** http://h/?q=***", value


def test_a_form_that_changes_nothing_makes_no_needle() -> None:
    """Letters and digits are the same in every form but three; an odd character costs what it changes."""
    assert set(needles_for(b"d41d8cd98f00b204e9800998ecf8427e").values()) == {
        AS_IT_IS,
        "base64",
        "hex",
        "percent-encoded",
    }
    assert len(needles_for(b"d41d8cd98f00b204e9800998ecf8427e")) == 6
    names = set(needles_for(b"Tr0ub4dor-3_x.y~z").values())
    assert not names & {"HTML", "JSON", "repr", "CSV", "SQL or YAML", "JSON of JSON", "percent-encoded twice"}


def test_a_long_value_has_the_common_forms() -> None:
    """I5: the ones that take its size once each; the rest would not fit in memory."""
    value = ("quo\"te's & more " * (LONG // 10)).encode()
    names = set(needles_for(value).values())
    assert names == {
        AS_IT_IS,
        "base64",
        "hex",
        "percent-encoded",
        "quoted for a shell",
        "HTML",
        "JSON",
        "repr",
        "CSV",
        "SQL or YAML",
    }
