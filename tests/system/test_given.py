"""Data sources, catalogs and secrets that are files, in real runs: what is there, under which names, and what not."""

import json
from collections.abc import Iterator

import pytest

from secretstore import vault
from tests.processes import eventually
from tests.rig import ACTOR, Rig, command, file, function, rig

KEY_ID, SECRET_KEY = "AKIALAKE0000EXAMPLE1", "lake+secret/key-4711-9f3b7c"
LAKE = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET_KEY}
DSN = "postgresql://reader:s3cr%24t-pass-99@127.0.0.1:5432/shop?application_name=x"
PEM = (
    b"-----BEGIN PRIVATE KEY-----\n"
    + b"\n".join(b"%064d" % (7919 * n) for n in range(30))
    + b"\n-----END PRIVATE KEY-----\n"
)
TOKEN = "dapi-0123456789abcdef-unity"

SHOW = """
import configparser, json, os, stat, sys
def read(variable):
    parser = configparser.RawConfigParser()
    with open(os.environ[variable]) as file:
        parser.read_file(file)
    return {section: dict(parser[section]) for section in parser.sections()}
credentials = read("AWS_SHARED_CREDENTIALS_FILE")
found = {"config": read("AWS_CONFIG_FILE"), "pg": read("PGSERVICEFILE")}
# As pairs: the section as a whole is the very text of the secret.
found["credentials"] = {name: list(section.items()) for name, section in credentials.items()}
held = credentials["lake"]["aws_secret_access_key"]
found["length"] = len(held)
found["modes"] = {name: oct(stat.S_IMODE(os.stat(os.environ[name]).st_mode))
                  for name in ("AWS_SHARED_CREDENTIALS_FILE", "PGSERVICEFILE", "TLS_KEY")}
found["folder"] = oct(stat.S_IMODE(os.stat(os.path.dirname(os.environ["TLS_KEY"])).st_mode))
found["pem"] = len(open(os.environ["TLS_KEY"], "rb").read())
found["reversed"] = held[::-1]
found["names"] = sorted(os.environ)
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=["root", "ordinary"])
def place(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A worker of either kind, and a project with a connection of every sort."""
    account = {}
    if request.param == "ordinary":
        from tests.rig import ordinary_account

        account = {"account": ordinary_account()}
    with rig(**account) as made:
        secrets = {
            "LAKE_CREDS": json.dumps(LAKE).encode(),
            "DSN": DSN.encode(),
            "TLS_KEY": PEM,
            "UNITY": TOKEN.encode(),
        }
        made.project("shop", secrets)
        vault.put(made.db, "shop", "default", "TLS_KEY", PEM, actor=ACTOR, pins=made.pins, as_file=True)
        create(made, "source", "lake", "s3", {
            "bucket": "raw", "prefix": "in", "region": "eu-north-1", "endpoint": "http://127.0.0.1:9",
            "credentials": {"$secret": "LAKE_CREDS"},
        })  # fmt: skip
        create(made, "source", "ledger", "postgres", {"url": {"$secret": "DSN"}})
        create(made, "catalog", "main", "unity-catalog", {
            "endpoint": "http://127.0.0.1:9", "token": {"$secret": "UNITY"},
        })  # fmt: skip
        ice = {"endpoint": "http://127.0.0.1:9", "source": "lake"}
        create(made, "catalog", "ice", "iceberg-rest", ice)
        made.project("broken", {"TEXT": b"no-json-at-all-4711"})
        create(made, "source", "lake", "s3", {"bucket": "raw", "credentials": {"$secret": "TEXT"}}, "broken")
        create(made, "source", "gone", "s3", {"bucket": "raw", "credentials": {"$secret": "NOT_THERE"}}, "broken")
        create(made, "source", "open", "s3", {"bucket": "public"}, "broken")
        made.start_worker()
        yield made


def create(made: Rig, role: str, name: str, kind: str, settings: object, project: str = "shop") -> None:
    vault.create_connection(made.db, project, "default", role, name, kind, settings, actor=ACTOR)  # type: ignore[arg-type]


class TestThere:
    def test_files_and_variables_of_an_interpreter(self, place: Rig) -> None:
        """I5: profiles, a service, a secret as a file: each readable to the run alone, each value masked."""
        ended = place.run(file(place.job(SHOW)))
        assert ended.how == ("succeeded", None, 0), ended.stderr
        found = json.loads(ended.stdout)
        assert found["config"]["profile lake"]["region"] == "eu-north-1"
        assert found["config"]["profile lake"]["endpoint_url"] == "http://127.0.0.1:9"
        assert found["credentials"] == {"lake": [["aws_access_key_id", "***"], ["aws_secret_access_key", "***"]]}
        assert found["pg"]["ledger"] | {"password": "***"} == found["pg"]["ledger"]
        assert found["length"] == len(SECRET_KEY) and found["reversed"] == SECRET_KEY[::-1]
        assert set(found["modes"].values()) == {"0o400"} and found["folder"] == "0o700"
        assert found["pem"] == len(PEM)
        assert {"AWS_PROFILE", "PGSERVICEFILE", "DATABRICKS_HOST", "DATABRICKS_TOKEN"} <= set(found["names"])

    def test_files_of_a_command(self, place: Rig) -> None:
        """A command finds the same; what it prints of them is masked, lines of a key among it."""
        code = 'cat "$AWS_SHARED_CREDENTIALS_FILE" "$PGSERVICEFILE" "$TLS_KEY"; echo "$AWS_PROFILE $DATABRICKS_TOKEN"'
        ended = place.run(command("bash", "-c", code))
        assert ended.how == ("succeeded", None, 0), ended.stderr
        assert "[lake]" in ended.stdout and "lake ***" in ended.stdout
        for hidden in (KEY_ID, SECRET_KEY, "s3cr$t-pass-99", TOKEN, f"{7919:064d}"):
            assert hidden not in ended.stdout

    def test_nothing_stays(self, place: Rig) -> None:
        """I1: once a run is over its files are gone, those of a run that was killed among them."""
        for code in ("true", "kill -9 $$"):
            run_id = place.submit(command("bash", "-c", code))
            place.ended(run_id)
            eventually(lambda run=run_id: not place.place(run).exists(), 5, "its place is removed")

    def test_objects(self, place: Rig) -> None:
        """A function's parameters are objects; they show no credential."""
        path = place.job(
            "def look(data, cat=None, *, more):\n"
            "    return [repr(data), data.bucket, data.prefix, repr(cat), repr(more), more]\n",
            "looks.py",
        )
        target = function(path, "look", {}, {"more": 3}) | {"sources": {"data": "lake"}, "catalogs": {"cat": "main"}}
        ended = place.run(target)
        assert ended.how == ("succeeded", None, 0), (ended.stderr, ended.view.problem)
        shown, bucket, prefix, cat, *more = ended.view.result
        assert (bucket, prefix, more) == ("raw", "in", ["3", 3])
        assert shown.startswith("<source lake: s3, s3://raw/in") and cat.startswith("<catalog main: unity-catalog")
        assert "***" not in shown + cat

    def test_a_library_that_is_not_there(self, place: Rig) -> None:
        """What is to be added, below the line of the function that asked."""
        path = place.job("def look(data):\n    return data.filesystem()\n", "asks.py")
        ended = place.run(function(path, "look") | {"sources": {"data": "lake"}, "catalogs": {}})
        assert ended.how == ("failed", "exception", 1)
        assert 'File "asks.py", line 2, in look' in ended.stderr
        *_, last = ended.stderr.splitlines()
        assert last.endswith("s3fs is not in this run's Python; add it: sealrun run --with 's3fs>=2024' ...")

    def test_receipt(self, place: Rig) -> None:
        """Connection, setting, secret, version and field; and by which way each secret reached the run."""
        ended = place.run(command("true"))
        receipt = ended.view.receipt
        assert receipt is not None
        found = {(one.connection, one.place, one.secret, one.version, one.field) for one in receipt.connections}
        assert found == {
            ("lake", "access_key_id", "LAKE_CREDS", 1, "aws_access_key_id"),
            ("lake", "secret_access_key", "LAKE_CREDS", 1, "aws_secret_access_key"),
            ("ice", "source.access_key_id", "LAKE_CREDS", 1, "aws_access_key_id"),
            ("ice", "source.secret_access_key", "LAKE_CREDS", 1, "aws_secret_access_key"),
            ("ledger", "url", "DSN", 1, None),
            ("main", "token", "UNITY", 1, None),
        }
        assert {one.name: one.channel for one in receipt.secrets} == {
            "DSN": "environment", "LAKE_CREDS": "environment", "TLS_KEY": "file", "UNITY": "environment",
        }  # fmt: skip


class TestLess:
    def test_a_secret_by_name_leaves_connections_theirs(self, place: Rig) -> None:
        """What a connection needs is opened for it, and is no variable of a run that did not ask for it."""
        ended = place.run(
            command("bash", "-c", 'echo "${LAKE_CREDS-none} ${DSN-none} $AWS_PROFILE"'), secret_names=["DSN"]
        )
        assert ended.stdout == "none *** lake\n"
        assert ended.view.receipt is not None
        channels = {one.name: one.channel for one in ended.view.receipt.secrets}
        assert channels == {"DSN": "environment", "LAKE_CREDS": "connection", "UNITY": "connection"}

    @pytest.mark.parametrize("asked", [{"connections": False}, {"secret_names": []}])
    def test_none(self, place: Rig, asked: dict[str, object]) -> None:
        """I4: without connections, or without secrets, a run has none of it; without secrets nothing is opened."""
        names = "AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_PROFILE PGSERVICEFILE DATABRICKS_HOST DATABRICKS_TOKEN"
        ended = place.run(command("bash", "-c", f"for n in {names}; do echo ${{!n-none}}; done"), **asked)
        assert ended.stdout == "none\n" * 6
        assert ended.view.receipt is not None and ended.view.receipt.connections == ()
        assert ended.view.receipt.status == ("none" if asked.get("secret_names") == [] else "closed")

    def test_those_alone_that_parameters_are(self, place: Rig) -> None:
        path = place.job(
            "import os\ndef look(data):\n    return [data.name, 'PGSERVICEFILE' in os.environ, 'DSN' in os.environ]\n"
        )
        target = function(path, "look") | {"sources": {"data": "lake"}, "catalogs": {}}
        assert place.run(target, connections=False).view.result == ["lake", False, True]
        assert place.run(target, secret_names=[]).view.result == ["lake", False, False]

    def test_what_the_project_sets_itself_wins(self, place: Rig) -> None:
        ended = place.run(
            command("bash", "-c", 'echo "$AWS_CONFIG_FILE $PGSERVICE ${AWS_PROFILE-none}"'),
            variables={"AWS_CONFIG_FILE": "/mine", "PGSERVICE": "mine"},
        )
        assert ended.stdout == "/mine mine none\n"


class TestBroken:
    def test_is_left_out_and_said(self, place: Rig) -> None:
        """I9: a connection that cannot be filled in is left out of runs that do not name it, and never silently."""
        ended = place.run(command("bash", "-c", 'grep profile "$AWS_CONFIG_FILE"'), project="broken")
        assert (ended.how, ended.stdout) == (("succeeded", None, 0), "[profile open]\n")
        said = [line for line in ended.stderr.splitlines() if "left out of this run" in line]
        assert len(said) == 2
        assert (
            "source gone: its access_key_id is the secret NOT_THERE, which broken (default) does not have"
            in ended.stderr
        )
        assert (
            "source lake: access_key_id is aws_access_key_id of secret TEXT, which is not a JSON object" in ended.stderr
        )
        assert ended.view.receipt is not None
        assert {one.connection: bool(one.left_out) for one in ended.view.receipt.connections} == {"lake": True}

    @pytest.mark.parametrize("name", ["lake", "gone", "never-made"])
    def test_ends_a_run_that_names_it(self, place: Rig, name: str) -> None:
        """Nothing of such a run starts; the sentence names parameter, connection and field, and no value."""
        path = place.job("print('began')\ndef look(data): return 1\n")
        ended = place.run(function(path, "look") | {"sources": {"data": name}, "catalogs": {}}, project="broken")
        assert ended.how == ("failed", "setup_failed", None) and ended.stdout == ""
        assert ended.view.message is not None and ended.view.message.startswith("the parameter data cannot be given: ")
        assert f"source {name}" in ended.view.message and "4711" not in ended.view.message
