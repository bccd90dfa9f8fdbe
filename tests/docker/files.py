"""What is wrong with the files of docker/, as far as it can be known without an engine."""

import os
import re
import shlex
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

from executor.cli.lazy import COMMANDS, load
from executor.server_settings import SERVER_SETTINGS
from executor.settings import ALL_SETTINGS

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / "docker"
OURS = "sealrun:local"

Compose = dict[str, Any]
Steps = list[tuple[str, str]]


def read_compose(text: str) -> Compose:
    """compose.yaml with its variables at their defaults, as Compose has it when none is set."""
    document: Compose = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))
    return document


def read_dockerfile(text: str) -> Steps:
    """The steps of a Dockerfile: instruction and the rest, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


# The Dockerfile -----------------------------------------------------------------------------------


def missing_sources(steps: Steps, ignore: str) -> Iterator[str]:
    """Everything that is copied from the checkout is there, and goes to the engine."""
    sent = {str(path.relative_to(CHECKOUT)) for path in context(ignore)}
    for word, rest in steps:
        if word == "COPY" and not rest.startswith("--from="):
            for source in rest.split()[:-1]:
                if not (CHECKOUT / source).exists():
                    yield f"COPY {source}: there is none"
                elif not any(path == source or path.startswith(f"{source}/") for path in sent):
                    yield f"COPY {source}: .dockerignore keeps it out"


def context(ignore: str) -> Iterator[Path]:
    """The files that .dockerignore lets through; of its grammar what ours uses: all is out, some paths are in."""
    patterns = [line for line in ignore.splitlines() if line and not line.startswith("#")]
    assert patterns[0] == "*" and patterns[-1] == "**/__pycache__"
    for allowed in patterns[1:-1]:
        assert re.fullmatch(r"![\w./-]+", allowed), allowed
        place = CHECKOUT / allowed[1:]
        files = [place] if place.is_file() else place.rglob("*")
        yield from (path for path in files if path.is_file() and "__pycache__" not in path.parts)


def loose_ends(steps: Steps) -> Iterator[str]:
    """The image is a worker that is not root, is looked after, and comes from named versions."""
    last = dict(steps)
    stages = {rest.split()[-1] for word, rest in steps if word == "FROM" and " AS " in rest}
    for word, rest in steps:
        if word == "FROM" and rest.split()[0] not in stages:
            yield from unpinned(rest.split()[0])
        if word in ("ARG", "ENV") and re.search("PASSWORD|SECRET|TOKEN|_KEY", rest, re.I):
            yield f"{word} {rest.partition('=')[0]}: no secret is in a layer"
    if re.match(r"(0|root)\b", last.get("USER", "root")):
        yield "USER: it is root"
    if last.get("ENTRYPOINT") != '["sealrun"]':
        yield "ENTRYPOINT is not sealrun"
    yield from unparsable(shlex.split(re.sub(r'[\[\],"]', " ", last.get("CMD", ""))))
    program, *words = re.findall(r'"([^"]+)"', last.get("HEALTHCHECK", '"none"'))
    yield from unparsable(words) if program == "sealrun" else ["HEALTHCHECK is not sealrun"]


def unnamed_builders(steps: Steps) -> Iterator[str]:
    """What is taken of the development lock is the builder with all it needs, and nothing else."""
    (taken,) = [found for _, rest in steps for found in re.findall(r"\(([\w|-]+)\)==/", rest)]
    needed: set[str] = set()
    left = ["hatchling"]
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            wanted = map(Requirement, metadata.requires(name) or [])
            left += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    if set(taken.split("|")) != needed:
        yield f"the builder is {', '.join(sorted(needed))}"


# compose.yaml -------------------------------------------------------------------------------------


def ours(compose: Compose) -> dict[str, Any]:
    """The services that are sealrun."""
    return {name: service for name, service in compose["services"].items() if service["image"] == OURS}


def bad_commands(compose: Compose) -> Iterator[str]:
    """Every command line is one of sealrun's, with options it has."""
    for name, service in ours(compose).items():
        if "entrypoint" not in service:
            yield from (f"{name}: {problem}" for problem in unparsable(service["command"]))


def unparsable(words: list[str]) -> Iterator[str]:
    """Whether a command line of sealrun is understood, as far as that can be known without executing it."""
    if words == ["--help"]:
        return
    if words[0] not in COMMANDS:
        yield f"no command {words[0]}"
        return
    command, rest = load(words[0]), list(words[1:])
    try:
        made = command.make_context(words[0], rest)
        while hasattr(command, "resolve_command") and hasattr(command, "commands"):
            name, command, rest = command.resolve_command(made, [*made._protected_args, *made.args])
            made = command.make_context(name, rest, parent=made)
    except Exception as error:  # noqa: BLE001  # of whatever kind: it says what is not understood
        yield f"{shlex.join(words)}: {getattr(error, 'message', error)}"


def bad_settings(compose: Compose) -> Iterator[str]:
    """Every variable is a setting; those with a password in them are files; all who meet have one host name."""
    every = (*ALL_SETTINGS, *SERVER_SETTINGS)
    known = {setting.name for setting in every if not setting.from_file}
    known |= {f"{setting.name}_FILE" for setting in every if setting.from_file}
    for name, service in ours(compose).items():
        for variable in service["environment"]:
            if variable.startswith("SEALRUN_") and variable not in known:
                yield f"{name}: {variable} is no setting for here"
    hosts = {service["environment"].get("SEALRUN_HOST") for name, service in workers_and_cli(compose)}
    if len(hosts) != 1 or None in hosts:
        yield "workers and cli have not one SEALRUN_HOST"
    sources = {str([volume for volume in service["volumes"] if ":/srv/source:ro" in volume])
               for _, service in workers_and_cli(compose)}  # fmt: skip
    if len(sources) != 1 or "[]" in sources:
        yield "workers and cli do not see the same source"


def workers_and_cli(compose: Compose) -> list[tuple[str, Any]]:
    """Those who meet under a host name."""
    found = [
        (name, one) for name, one in ours(compose).items() if name == "cli" or one.get("command", "")[:1] == ["worker"]
    ]
    assert len(found) == 3
    return found


def bad_secrets(compose: Compose, made: set[str]) -> Iterator[str]:
    """Passwords come from the files that docker/passwords makes, and are handed to whoever names them."""
    for name, secret in compose["secrets"].items():
        if secret != {"file": f"secrets/{name}"}:
            yield f"secret {name} is not the file secrets/{name}"
        if name not in made:
            yield f"docker/passwords makes no {name}"
    for name, service in compose["services"].items():
        given = set(service.get("secrets", []))
        named = set(re.findall(r"/run/secrets/([\w.-]+)", str({**service, "secrets": None})))
        if given - compose["secrets"].keys():
            yield f"{name}: unknown secrets"
        if named != given:
            yield f"{name}: is given {sorted(given)} and names {sorted(named)}"
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN", variable) and not variable.endswith("_FILE") and value != "test":
                yield f"{name}: {variable} stands in the environment"
            if re.search(r"://[^/]*:[^/]*@", str(value)):
                yield f"{name}: {variable} has a password in it"


def bad_order(compose: Compose) -> Iterator[str]:
    """What is waited for can come: health where there is a check, an end where something ends."""
    services = compose["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            awaited, condition = services.get(other, {}), how["condition"]
            checked = "test" in awaited.get("healthcheck", {})
            if condition == "service_healthy" and not checked:
                yield f"{name} waits for the health of {other}, which has no check"
            if condition == "service_completed_successfully" and awaited.get("restart") != "no":
                yield f"{name} waits for the end of {other}, which is started again"
    for name, service in workers_and_cli(compose):
        if name != "cli" and not {"migrate", "kms-key", "redis"} <= service["depends_on"].keys():
            yield f"{name} is started before what it needs"


def bad_images(compose: Compose) -> Iterator[str]:
    """One service builds our image, the others take it; every other image is a version."""
    builders = [name for name, service in ours(compose).items() if "build" in service]
    if len(builders) != 1:
        yield f"{OURS} is built by {builders}"
    for name, service in ours(compose).items():
        if service.get("pull_policy") != ("build" if name in builders else "never"):
            yield f"{name}: {OURS} would be looked for in a registry"
        if "build" in service:
            place = FOLDER / service["build"]["context"]
            if place.resolve() != CHECKOUT or not (place / service["build"]["dockerfile"]).is_file():
                yield f"{name}: is built from somewhere else"
        if service.get("cap_drop") != ["ALL"] or service.get("security_opt") != ["no-new-privileges:true"]:
            yield f"{name}: has more rights than it needs"
        if service.get("init") is not True:
            yield f"{name}: nobody reaps"
    for name, service in compose["services"].items():
        if service["image"] != OURS:
            yield from (f"{name}: {problem}" for problem in unpinned(service["image"]))


def unpinned(image: str) -> Iterator[str]:
    """An image of some version or other."""
    if not re.fullmatch(r"[\w./-]+:(?!latest)[\w.-]*\d[\w.-]*", image):
        yield f"{image} is no version"


def bad_mounts(compose: Compose) -> Iterator[str]:
    """What is mounted exists, and what is the checkout's cannot be written."""
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source, _, rest = volume.partition(":")
            if not source.startswith("."):
                if source not in compose["volumes"]:
                    yield f"{name}: no volume {source}"
            elif not os.path.exists(FOLDER / source):
                yield f"{name}: {source} is not there"
            elif not rest.endswith(":ro"):
                yield f"{name}: {source} can be written"


def told_commands(page: str) -> Iterator[list[str]]:
    """The words for sealrun in `docker compose … run … cli WORDS` lines of a page."""
    for line in page.splitlines():
        if match := re.search(r"\brun (?:-\S+ )*cli (.+)", line):
            yield shlex.split(match[1], comments=True)
