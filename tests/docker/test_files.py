"""docker/ without an engine: what its files name exists, and each mistake that could be made in them is told."""

import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.settings import read_settings
from tests.docker import files
from tests.docker.files import CHECKOUT, FOLDER

COMPOSE = (FOLDER / "compose.yaml").read_text()
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
IGNORE = (CHECKOUT / ".dockerignore").read_text()
MADE = {"postgres-password", "redis-password", "redis.conf", "broker-url", "database-url"}


def complaints(compose: str = COMPOSE, dockerfile: str = DOCKERFILE, ignore: str = IGNORE) -> list[str]:
    """All that is wrong with these files."""
    document, steps = files.read_compose(compose), files.read_dockerfile(dockerfile)
    found = [
        *files.missing_sources(steps, ignore),
        *files.loose_ends(steps),
        *files.unnamed_builders(steps),
        *files.bad_commands(document),
        *files.bad_settings(document),
        *files.bad_secrets(document, MADE),
        *files.bad_order(document),
        *files.bad_images(document),
        *files.bad_mounts(document),
    ]
    return found


def test_nothing_is_wrong() -> None:
    """Of what can be known without an engine."""
    assert complaints() == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("COPY executor executor", "COPY runner runner", "COPY runner: there is none"),
        (
            "COPY LICENSE README.md",
            "COPY LICENSE SECURITY.md README.md",
            "COPY SECURITY.md: .dockerignore keeps it out",
        ),
        ("USER 10001:10001", "USER 0", "USER: it is root"),
        ("USER 10001:10001\n", "", "USER: it is root"),
        ("python:3.11-slim-bookworm AS", "python:latest AS", "python:latest is no version"),
        ('CMD ["worker"]', 'CMD ["worker", "--pool"]', "worker --pool: No such option: --pool"),
        ('ENTRYPOINT ["sealrun"]', 'ENTRYPOINT ["celery"]', "ENTRYPOINT is not sealrun"),
        ('CMD ["sealrun", "worker", "--check"]', 'CMD ["true"]', "HEALTHCHECK is not sealrun"),
        ('"worker", "--check"]', '"worker", "--health"]', "worker --health: No such option: --health"),
        ("ENV SEALRUN_HOME=", "ENV AWS_SECRET_ACCESS_KEY=x SEALRUN_HOME=", "no secret is in a layer"),
        ("hatchling|packaging|", "hatchling|", "the builder is hatchling, packaging"),
    ],
)
def test_a_mistake_in_the_dockerfile_is_told(before: str, after: str, told: str) -> None:
    """Each is made in a copy."""
    assert DOCKERFILE.count(before) == 1
    assert told in "\n".join(complaints(dockerfile=DOCKERFILE.replace(before, after)))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('-n, "worker-2@%h"]', "--name, worker-2]", "worker-2: worker -c 2 --name worker-2: No such option: --name"),
        ("command: [migrate]", "command: [upgrade]", "migrate: no command upgrade"),
        ("SEALRUN_BROKER_URL_FILE:", "SEALRUN_BROKER_FILE:", "worker-1: SEALRUN_BROKER_FILE is no setting"),
        ("SEALRUN_BROKER_URL_FILE: ", "SEALRUN_BROKER_URL: ", "worker-1: SEALRUN_BROKER_URL is no setting for here"),
        ("      SEALRUN_ACTOR:", "      SEALRUN_HOST: other\n      SEALRUN_ACTOR:", "have not one SEALRUN_HOST"),
        ("      - ${SEALRUN_SOURCE:-../examples}", "      - ../docs", "do not see the same source"),
        ("secrets: [postgres-password]", "secrets: []", "postgres: is given [] and names ['postgres-password']"),
        ("file: secrets/broker-url", "file: secrets/broker", "secret broker-url is not the file"),
        ("  broker-url: {file", "  broker: {file", "docker/passwords makes no broker"),
        ("POSTGRES_PASSWORD_FILE: /run/", "POSTGRES_PASSWORD: /run/", "POSTGRES_PASSWORD stands in the environment"),
        ("endpoint_url=http://kms", "endpoint_url=http://a:b@kms", "worker-1: SEALRUN_KEYS has a password in it"),
        ("    build: {", "    x-build: {", "sealrun:local is built by []"),
        ("  pull_policy: never\n", "", "worker-2: sealrun:local would be looked for in a registry"),
        ("context: ..,", "context: .,", "migrate: is built from somewhere else"),
        ("  cap_drop: [ALL]\n", "", "cli: has more rights than it needs"),
        ("  init: true\n", "", "worker-1: nobody reaps"),
        ("redis:7.2-bookworm", "redis", "redis: redis is no version"),
        ("motoserver/moto:5.2.3", "motoserver/moto:latest", "kms: motoserver/moto:latest is no version"),
        ("./kms_key.py:/", "./kms-key.py:/", "kms-key: ./kms-key.py is not there"),
        ("- ${SEALRUN_SOURCE:-../examples}:/srv/source:ro", "- ../examples:/srv/source", "../examples can be written"),
        ("- home:/var", "- house:/var", "cli: no volume house"),
        ("    migrate: {condition: service_completed_successfully}\n    kms-key", "    kms-key", "is started before"),
    ],
)
def test_a_mistake_in_the_compose_file_is_told(before: str, after: str, told: str) -> None:
    """Each is made in a copy, at its first place."""
    assert before in COMPOSE
    assert told in "\n".join(complaints(compose=COMPOSE.replace(before, after, 1)))


@pytest.mark.parametrize("service", ["migrate", "redis"])
def test_to_wait_for_what_does_not_come_is_told(service: str) -> None:
    """A one-shot service that is started again never ends, and one without a check is never healthy."""
    document = files.read_compose(COMPOSE)
    document["services"][service] |= {"restart": "always", "healthcheck": {}}
    told = list(files.bad_order(document))
    assert any(complaint.startswith("worker-1 waits for the ") and service in complaint for complaint in told)


@pytest.mark.parametrize(
    "words", ["project create shop --nope", "project make shop", "secret set", "run -p shop --nope x.py", "runs show"]
)
def test_a_command_that_sealrun_does_not_have_is_told(words: str) -> None:
    """Down to the options of what is beneath `project`, `secret` and `runs`."""
    assert list(files.unparsable(words.split()))


@pytest.fixture(scope="module")
def passwords(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a copy of docker/passwords has made its files."""
    folder = tmp_path_factory.mktemp("docker")
    shutil.copy(FOLDER / "passwords", folder)
    subprocess.run([folder / "passwords"], check=True, capture_output=True, cwd="/")
    return folder / "secrets"


def test_passwords_are_made_once_and_for_the_containers_alone(passwords: Path) -> None:
    """The folder keeps other users out; the files are open, since containers have users of their own."""
    before = {path.name: path.read_bytes() for path in passwords.iterdir()}
    assert set(before) == MADE
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in passwords.iterdir()} == {0o444}
    assert all(re.search(rb"[0-9a-f]{48}", value) for value in before.values())

    (passwords / "broker-url").unlink()
    again = subprocess.run([passwords.parent / "passwords"], check=True, capture_output=True, text=True)

    assert again.stderr == "passwords: made docker/secrets/broker-url\n"
    assert before == {path.name: path.read_bytes() for path in passwords.iterdir()}
    assert not any(value.decode() in again.stderr for value in before.values())


def test_the_settings_of_every_container_are_accepted(passwords: Path) -> None:
    """With the files where Compose mounts them; nobody falls back to the embedded broker or a database of its own."""
    for name, service in files.ours(files.read_compose(COMPOSE)).items():
        given = service["environment"]
        environ = {key: str(value).replace("/run/secrets", str(passwords)) for key, value in given.items()}
        settings = read_settings({"SEALRUN_HOME": "/var/lib/sealrun", **environ})
        assert settings.store.keys.startswith("aws-kms:alias/sealrun?region=us-east-1&")
        if name != "kms-key":
            password = (passwords / "postgres-password").read_text()
            assert settings.store.database_url == f"postgresql+psycopg://sealrun:{password}@postgres:5432/sealrun"
            assert settings.broker_url == f"redis://:{(passwords / 'redis-password').read_text()}@redis:6379/0"
            assert settings.host == "compose" and not settings.embedded


def test_the_commands_that_the_pages_tell_are_understood() -> None:
    """A reader copies them."""
    pages = [FOLDER / "README.md", CHECKOUT / "README.md"]
    told = [words for page in pages for words in files.told_commands(page.read_text())]
    assert len(told) >= 4
    assert [problem for words in told for problem in files.unparsable(words)] == []


def test_what_goes_to_the_engine_builds_the_wheel(tmp_path: Path) -> None:
    """All that it needs is copied, and no password is."""
    place = tmp_path / "checkout"
    for path in files.context(IGNORE):
        assert "secrets" not in path.relative_to(CHECKOUT).parts
        target = place / path.relative_to(CHECKOUT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    shutil.rmtree(place / "requirements")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(place)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    checked = subprocess.run([sys.executable, CHECKOUT / "scripts" / "check_wheel.py", wheel], capture_output=True)
    assert checked.returncode == 0, checked.stderr


@pytest.fixture(scope="module")
def stand_in() -> Iterator[str]:
    """moto's server, as in the service `kms`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_the_stand_in_has_the_key_that_is_named(stand_in: str) -> None:
    """Made once: who starts the services again does not lose what is sealed under it."""
    service = files.read_compose(COMPOSE)["services"]["kms-key"]
    environ = {key: str(value) for key, value in service["environment"].items()}
    environ["SEALRUN_KEYS"] = environ["SEALRUN_KEYS"].replace("http://kms:5000", stand_in)

    said = [
        subprocess.run(
            [sys.executable, "-I", FOLDER / "kms_key.py"], env=environ, check=True, capture_output=True, text=True
        )
        for _ in range(2)
    ]

    assert re.fullmatch(r"kms-key: alias/sealrun is the key [0-9a-f-]{36}\n", said[0].stderr)
    assert said[1].stderr == "kms-key: alias/sealrun is there\n"


def test_the_stand_in_answers_where_its_health_is_asked(stand_in: str) -> None:
    """The check of the service `kms` is the one of this server."""
    check = files.read_compose(COMPOSE)["services"]["kms"]["healthcheck"]["test"]
    assert check[:3] == ["CMD", "python3", "-c"]

    def healthy(address: str) -> bool:
        code = check[3].replace("http://127.0.0.1:5000", address)
        return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0

    assert healthy(stand_in) and not healthy("http://127.0.0.1:1")
