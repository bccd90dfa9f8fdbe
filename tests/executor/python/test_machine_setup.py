"""How a machine reaches package indexes: what uv and pip would find there is what installers are given."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from executor.python import machine_setup
from executor.python.machine_setup import MachineSetup

PASSWORD = "hunter2-index-5417"
TOML = ".config/uv/uv.toml"


def read(home: Path, environ: Mapping[str, str] = {}, package_index: str | None = None, **files: str) -> MachineSetup:
    """What is read with these files of a home; pip's settings for everybody on this machine do not count."""
    for name, text in files.items():
        path = home / {"uv": TOML, "pip": "pip.conf", "netrc": ".netrc"}[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    pip = str(home / "pip.conf") if "pip" in files else "/dev/null"
    return machine_setup.read({"PIP_CONFIG_FILE": pip, **environ}, home, package_index)


def test_variables_that_lead_to_indexes_are_passed_on_and_no_others(tmp_path: Path) -> None:
    """Proxies in both cases, uv's indexes and their logins; nothing else of uv's, and no password of another kind."""
    given = {
        "HTTPS_PROXY": "http://proxy:3128", "no_proxy": "10.0.0.0/8", "UV_INDEX": "own=https://a.example/simple",
        "UV_INDEX_OWN_USERNAME": "ada", "UV_INDEX_OWN_PASSWORD": PASSWORD, "UV_HTTP_TIMEOUT": "60",
    }  # fmt: skip
    others = {
        "UV_PUBLISH_TOKEN": "x",
        "UV_CACHE_DIR": "/c",
        "UV_PYTHON": "/p",
        "AWS_SECRET_ACCESS_KEY": "y",
        "PATH": "/",
    }
    found = read(tmp_path, given | others | {"UV_SYSTEM_CERTS": "false"})
    assert found.variables == given | {"UV_SYSTEM_CERTS": "false"}
    assert all(map(machine_setup.concerns, given)) and not any(map(machine_setup.concerns, others))
    assert "5417" not in repr(found)


def test_the_systems_certificates_count_unless_something_else_is_said(tmp_path: Path) -> None:
    """And a file of authorities goes along as a text: an installer may not be able to read it where it lies."""
    (tmp_path / "own.pem").write_text("OWN")
    plain = read(tmp_path)
    assert plain.variables.get("UV_SYSTEM_CERTS", "true") == "true"
    for environ in ({"SSL_CERT_FILE": f"{tmp_path}/own.pem"}, {"PIP_CERT": f"{tmp_path}/own.pem"}):
        given = read(tmp_path, environ).given(Path("/h"), (), ())
        assert given.files == {"ca.pem": "OWN"}
        assert given.variables["SSL_CERT_FILE"] == given.variables["GIT_SSL_CAINFO"] == "/h/ca.pem"
    own = read(tmp_path, {"SSL_CERT_FILE": f"{tmp_path}/own.pem"}).given(Path("/h"), {"SSL_CERT_FILE"}, ())
    assert "SSL_CERT_FILE" not in own.variables


def test_what_pip_is_told_is_told_to_uv(tmp_path: Path) -> None:
    """Its file, its variables over it; in the form of a uv.toml, so that a project's own index counts more."""
    pip = (
        f"[global]\nindex-url = https://ada:{PASSWORD}@a.example/simple\nextra-index-url = https://b.example\n"
        "    https://c.example\ntrusted-host = d.example\nproxy = http://proxy:3128\ntimeout = 7\n"
        "[install]\nfind-links = /opt/a /opt/b\n[download]\nno-index = true\n"
    )
    found = read(tmp_path, {"PIP_EXTRA_INDEX_URL": "https://e.example"}, pip=pip)
    assert found.files[TOML].splitlines() == [
        f'index-url = "https://ada:{PASSWORD}@a.example/simple"',
        'extra-index-url = ["https://e.example"]',
        'find-links = ["/opt/a", "/opt/b"]',
        'allow-insecure-host = ["d.example"]',
    ]
    assert found.variables["HTTPS_PROXY"] == "http://proxy:3128" and found.variables["UV_HTTP_TIMEOUT"] == "7"
    assert found.credentials == (PASSWORD,)


def test_pip_is_not_asked_for_indexes_where_uv_or_sealrun_knows_them(tmp_path: Path) -> None:
    """Two answers to one question would be a mixture that neither tool makes."""
    pip = "[global]\nindex-url = https://a.example\ntrusted-host = d.example\n"
    rest = 'allow-insecure-host = ["d.example"]\n'
    assert "index-url" in read(tmp_path, pip=pip).files[TOML]
    assert read(tmp_path, {"UV_INDEX": "https://b.example"}, pip=pip).files[TOML] == rest
    assert read(tmp_path, package_index="http://127.0.0.1:1/simple", pip=pip).files[TOML] == rest
    uv = '[[index]]\nurl = "https://b.example"\n'
    assert read(tmp_path, pip=pip, uv=uv).files[TOML] == rest + uv
    assert read(tmp_path, pip=pip, uv=f"no-progress = 1\n{rest}").files[TOML].startswith('index-url = "https://a')


def test_a_projects_own_word_counts_more(tmp_path: Path) -> None:
    """Under either name that uv has for it, and in either case."""
    environ = {"UV_INDEX_URL": "https://a.example", "https_proxy": "http://proxy:1", "UV_INDEX_OWN_PASSWORD": PASSWORD}
    found = read(tmp_path, environ | {"UV_SYSTEM_CERTS": "1"})
    own = {"UV_DEFAULT_INDEX", "HTTPS_PROXY", "UV_INDEX_OWN_PASSWORD", "UV_NATIVE_TLS"}
    assert found.given(tmp_path, own, ()).variables == {}


def test_of_a_netrc_only_the_hosts_of_indexes_are_given(tmp_path: Path) -> None:
    """Those of this machine's indexes and those that the run's own texts name; never what is for every host."""
    lines = [
        f"machine {host} login ada password {host}-{PASSWORD}\n" for host in ("a.example", "b.example", "c.example")
    ]
    netrc = "".join(lines) + f"default login all password all-{PASSWORD}\n"
    found = read(tmp_path, {"UV_INDEX": "https://a.example/simple"}, netrc=netrc)
    texts = ["--extra-index-url https://ada@b.example/simple\nx @ https://c.example.org/x.whl"]
    assert found.given(tmp_path, (), texts).files[".netrc"] == "".join(lines[:2])
    assert ".netrc" not in read(tmp_path).given(tmp_path, (), ["a.example"]).files
    assert set(found.credentials) == {f"{host}.example-{PASSWORD}" for host in "abc"}


def test_credentials_are_known_for_masking_and_are_no_part_of_what_is_found_again(tmp_path: Path) -> None:
    """I1: passwords as written and as meant, a token in the place of a user; a new password builds nothing anew."""
    token = "ghp_0123456789abcdef"
    uv = f'[[index]]\nurl = "https://{token}@a.example/simple"\n'
    environ = {"UV_EXTRA_INDEX_URL": "https://ada:pass%2Fword-5417@b.example", "HTTP_PROXY": "http://u:proxy-5417@p:1"}
    found = read(tmp_path, environ, uv=uv)
    assert set(found.credentials) == {token, "pass%2Fword-5417", "pass/word-5417", "proxy-5417"}
    assert token not in found.identity and "5417" not in found.identity and "b.example" in found.identity
    logins = {"UV_INDEX_OWN_USERNAME": token, "UV_INDEX_OWN_PASSWORD": PASSWORD, "UV_INDEX_B_USERNAME": "ada"}
    assert set(read(tmp_path / "b", logins).credentials) == {token, PASSWORD}
    other = {**environ, "UV_EXTRA_INDEX_URL": "https://ada:another-5417@b.example"}
    assert read(tmp_path, other, uv=uv).identity == found.identity
    assert read(tmp_path, {"UV_EXTRA_INDEX_URL": "https://c.example"}, uv=uv).identity != found.identity


def test_folders_of_packages_are_found_and_none_around_a_home(tmp_path: Path) -> None:
    """An installer reads them where they lie; an index called `simple` links to its neighbours."""
    for name in ("wheels", "pypi/simple"):
        (tmp_path / name).mkdir(parents=True)
    pip = f"[global]\nfind-links = {tmp_path}/wheels / /nowhere https://a.example/x\n"
    found = read(tmp_path, pip=f"{pip}extra-index-url = file://{tmp_path}/pypi/simple\n")
    assert set(found.folders) == {tmp_path / "wheels", tmp_path / "pypi"}


def test_what_cannot_be_read_is_told_without_quoting_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """I10: the file's name and a kind; what is left counts."""
    caplog.set_level(logging.WARNING)
    read(
        tmp_path,
        {"SSL_CERT_FILE": f"{tmp_path}/gone.pem", "UV_INDEX_OWN_PASSWORD": "short"},
        pip=f"[global\nindex-url = https://ada:{PASSWORD}@a.example\n",
        netrc=f"machine a.example login ada passwort {PASSWORD}\n",
    )
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 4 and "5417" not in "".join(said), said
    assert "gone.pem" in "".join(said) and "too short to be masked" in said[-1]
