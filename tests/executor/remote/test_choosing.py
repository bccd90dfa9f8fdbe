"""Which door is meant, and where a token goes: to the origin that it belongs to. A checkout alone decides nothing."""

import json
import os
import socket
import stat
import sys
import types
from collections.abc import Mapping
from pathlib import Path

import pytest

from executor.errors import NotLoggedIn, ServerNotAllowed, ServerUnusable
from executor.operations import projects
from executor.remote.choosing import Chosen, chosen
from executor.remote.kept import LogIns
from executor.remote.origin import origin_of
from executor.remote.server import Server
from executor.settings import Settings, read_settings
from executor.source.root import ProjectFile, project_file
from executor.submission import allowing
from secretstore.audit import Actor
from secretstore.errors import FolderUnusable, SettingsProblem
from tests.serving import stranger

TOKEN = "srn_t0123456789abcdefghijklmnopqrst" + "000000"
NOBODYS = ProjectFile()


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    """A whole one."""
    from executor.people.tokens import new_token

    return new_token("t")


def settings(home: Path, environ: Mapping[str, str] = {}) -> Settings:
    return read_settings({"SEALRUN_HOME": str(home), **environ})


def choose(home: Path, file: ProjectFile = NOBODYS, **environ: str) -> Chosen | None:
    return chosen(settings(home, environ), environ, file)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://sealrun.example.com", "https://sealrun.example.com"),
        ("https://SEALRUN.example.com:443/", "https://sealrun.example.com"),
        ("https://sealrun.example.com.:8443", "https://sealrun.example.com:8443"),
        ("http://127.0.0.1:8741", "http://127.0.0.1:8741"),
        ("http://localhost", "http://localhost"),
        ("http://[::1]:80/", "http://[::1]"),
        ("http://sealrun.example.com", None),
        ("http://127.0.0.1.example.com", None),
        ("http://localhost.example.com", None),
        ("http://10.0.0.1", None),
        ("https://user@sealrun.example.com", None),
        ("https://u:hunter2-password@sealrun.example.com", None),
        ("https://sealrun.example.com/api", None),
        ("https://sealrun.example.com?x=1", None),
        ("https://sealrun.example.com#x", None),
        ("https://sëalrun.example.com", None),
        ("https://a\nb", None),
        ("https://a b", None),
        ("https://", None),
        ("ftp://sealrun.example.com", None),
        ("file:///etc/passwd", None),
        ("https://x:99999", None),
        ("", None),
    ],
)
def test_an_origin_is_written_one_way_and_is_one_that_nobody_listens_to(url: str, origin: str | None) -> None:
    """https, or this machine itself; a password in it is not repeated."""
    if origin is not None:
        assert origin_of(url) == origin
        return
    with pytest.raises(ServerUnusable) as told:
        origin_of(url)
    assert "hunter2" not in f"{told.value} {told.value.hint}"


class TestTheDoor:
    def test_without_a_word_it_is_the_database(self, tmp_path: Path) -> None:
        """Nothing of a server is made or read."""
        assert choose(tmp_path / "home") is None
        assert not (tmp_path / "home").exists()

    def test_what_is_set_here_stands_over_what_was_logged_in_to(self, tmp_path: Path, token: str) -> None:
        """SEALRUN_SERVER, then a database of the environment's, then the last log-in."""
        LogIns(tmp_path).keep("https://kept.example.com", "ada", token)
        assert choose(tmp_path) == Chosen("https://kept.example.com", "sealrun login", token)
        assert choose(tmp_path, SEALRUN_DATABASE_URL="sqlite:////x.db") is None
        other = {"SEALRUN_SERVER": "https://other.example.com", "SEALRUN_DATABASE_URL": "sqlite:////x.db"}
        assert choose(tmp_path, **other) == Chosen("https://other.example.com", "SEALRUN_SERVER", None)
        own = {"SEALRUN_SERVER": "https://kept.example.com/"}
        assert choose(tmp_path, **own) == Chosen("https://kept.example.com", "SEALRUN_SERVER", token)

    def test_a_token_of_the_environment_is_for_the_server_of_the_environment(self, tmp_path: Path, token: str) -> None:
        """Not for the last log-in's; and half of one is no token."""
        with pytest.raises(ServerUnusable, match="SEALRUN_SERVER is not: nothing says which server it is for"):
            choose(tmp_path, SEALRUN_TOKEN=token)
        own = choose(tmp_path, SEALRUN_TOKEN=token, SEALRUN_SERVER="https://a.example.com")
        assert own is not None and own.token == token
        with pytest.raises(SettingsProblem) as told:
            choose(tmp_path, SEALRUN_TOKEN=token[:-1], SEALRUN_SERVER="https://a.example.com")
        assert token[:-1] not in str(told.value) and token not in repr(own)


class TestACheckout:
    """What a project file names is another's word."""

    def file(self, folder: Path, server: str) -> ProjectFile:
        folder.mkdir(exist_ok=True)
        (folder / ".sealrun.toml").write_text(f'server = "{server}"\n')
        return project_file(folder)

    def test_a_hostile_one_receives_no_byte(self, tmp_path: Path, token: str) -> None:
        """Neither where nobody allowed it, nor, where somebody did, without a log-in there."""
        home = tmp_path / "home"
        LogIns(home).keep("https://kept.example.com", "ada", token)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            file = self.file(tmp_path / "checkout", f"http://127.0.0.1:{listener.getsockname()[1]}")
            with pytest.raises(ServerNotAllowed) as told:
                choose(home, file, SEALRUN_TOKEN=token)
            assert str(tmp_path / "checkout/.sealrun.toml") in str(told.value)
            allowing.allow(home, file)
            found = choose(home, file, SEALRUN_TOKEN=token)
            assert found is not None and found.token is None
            with pytest.raises(NotLoggedIn):
                Server(settings(home), found.origin, found.token).ask(Actor("ada", "cli"), projects.list_)
            with pytest.raises(BlockingIOError):
                listener.accept()

    def test_a_server_that_one_is_logged_in_to_is_spoken_to(self, tmp_path: Path, token: str) -> None:
        """With the token for it; a file that says another one by a hair is another one."""
        home = tmp_path / "home"
        LogIns(home).keep("https://ours.example.com", "ada", token)
        for server in ("https://ours.example.com", "https://OURS.example.com:443/"):
            found = choose(home, self.file(tmp_path / "checkout", server))
            assert found is not None and (found.origin, found.token) == ("https://ours.example.com", token)
        for server in ("https://ours.example.com:8443", "https://ours.example.co", "https://xours.example.com"):
            with pytest.raises(ServerNotAllowed):
                choose(home, self.file(tmp_path / "checkout", server))
        with pytest.raises(ServerUnusable):
            choose(home, self.file(tmp_path / "checkout", "http://ours.example.com"))

    def test_what_the_environment_says_stands_over_it(self, tmp_path: Path) -> None:
        """Be it a server or a database."""
        file = self.file(tmp_path / "checkout", "https://evil.example.com")
        assert choose(tmp_path, file, SEALRUN_DATABASE_URL="sqlite:////x.db") is None
        found = choose(tmp_path, file, SEALRUN_SERVER="https://mine.example.com")
        assert found is not None and found.origin == "https://mine.example.com"

    def test_a_changed_file_is_not_allowed_any_more(self, tmp_path: Path) -> None:
        """It was allowed as it was."""
        home = tmp_path / "home"
        allowing.allow(home, self.file(tmp_path / "checkout", "https://a.example.com"))
        with pytest.raises(ServerNotAllowed):
            choose(home, self.file(tmp_path / "checkout", "https://b.example.com"))


class TestKept:
    def test_it_is_its_users_alone(self, tmp_path: Path, token: str) -> None:
        """In a file that others cannot read; one that they can is refused."""
        kept = LogIns(tmp_path / "home")
        assert kept.current is None and kept.of("https://a.example.com") is None
        where = kept.keep("https://a.example.com", "ada", token)
        assert stat.S_IMODE(os.stat(where).st_mode) == 0o600
        found = kept.of("https://a.example.com")
        assert found is not None and (found.name, found.token) == ("ada", token) and token not in repr(found)
        os.chmod(where, 0o640)
        with pytest.raises(FolderUnusable, match="others can read it"):
            kept.of("https://a.example.com")

    def test_one_of_several_is_forgotten(self, tmp_path: Path, token: str) -> None:
        """The last one is spoken to until it is left."""
        kept = LogIns(tmp_path / "home")
        kept.keep("https://a.example.com", "ada", token)
        kept.keep("https://b.example.com", "bob", token)
        assert kept.current == "https://b.example.com"
        assert kept.forget("https://b.example.com") and not kept.forget("https://b.example.com")
        assert kept.current is None and kept.of("https://b.example.com") is None
        assert kept.of("https://a.example.com") is not None

    @pytest.mark.parametrize("content", ["{", "[]", '{"servers": 5}', "null", "[" * 100_000])
    def test_what_is_not_what_we_wrote_is_a_sentence(self, tmp_path: Path, content: str) -> None:
        """And not a guess."""
        (tmp_path / "servers").write_text(content)
        (tmp_path / "servers").chmod(0o600)
        with pytest.raises(FolderUnusable, match="not what sealrun wrote"):
            LogIns(tmp_path).of("https://a.example.com")

    def test_a_keyring_keeps_it_where_there_is_one(
        self, tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file then says who, and holds no token."""
        inside: dict[tuple[str, str], str] = {}
        backend = types.SimpleNamespace(priority=5)
        library = types.ModuleType("keyring")
        vars(library).update(
            get_keyring=lambda: backend,
            set_password=lambda service, name, value: inside.update({(service, name): value}),
            get_password=lambda service, name: inside.get((service, name)),
            delete_password=lambda service, name: inside.pop((service, name)),
        )
        monkeypatch.setitem(sys.modules, "keyring", library)
        kept = LogIns(tmp_path)
        assert kept.keep("https://a.example.com", "ada", token) == "the keyring"
        assert json.loads((tmp_path / "servers").read_text())["servers"] == {"https://a.example.com": {"name": "ada"}}
        found = kept.of("https://a.example.com")
        assert found is not None and found.token == token
        assert kept.forget("https://a.example.com") and inside == {}
        backend.priority = 0  # its stand-in for "there is none"
        assert kept.keep("https://a.example.com", "ada", token) == str(tmp_path / "servers")


def test_a_servers_words_are_not_taken_for_a_token(tmp_path: Path) -> None:
    """What is typed for a token is sent nowhere unless it is whole."""
    from executor.errors import LogInFailed
    from executor.remote import entry

    with stranger(lambda *_: {}) as other:
        for typed in ("", "hunter2-password", TOKEN):
            with pytest.raises(LogInFailed):
                entry.with_token(Server(settings(tmp_path), other.url, None), typed)
        assert other.asked == []
