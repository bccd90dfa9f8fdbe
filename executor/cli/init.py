"""`sealrun init`: write .sealrun.toml."""

import re
from pathlib import Path
from typing import Annotated

import typer

from executor.cli.shown import screen
from executor.cli.typed import options
from executor.settings import read_here
from executor.source.root import PROJECT_FILE, project_file
from executor.submission import allowing
from executor.submission.context import current_folder
from secretstore.errors import AlreadyExists, FolderUnusable
from secretstore.naming import check_environment_name, check_project_name

app = typer.Typer(help="Write .sealrun.toml in this folder, so that commands here need no -p.", add_completion=False)


@app.command()
def init(
    name: Annotated[
        str | None, typer.Argument(metavar="PROJECT", help="The project (else named after this folder).")
    ] = None,
    project: options.Project = None,
    environment: options.Environment = None,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """Write .sealrun.toml, which names the project and makes this folder the source root of runs started here."""
    here = current_folder()
    chosen = name or project or named_after(here)
    check_project_name(chosen)
    lines = [f'project = "{chosen}"']
    if environment is not None:
        check_environment_name(environment)
        lines.append(f'environment = "{environment}"')
    try:
        with open(here / PROJECT_FILE, "x", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    except FileExistsError:
        raise AlreadyExists(
            "{path} exists already", path=here / PROJECT_FILE, hint="edit it, or remove it first"
        ) from None
    except OSError as error:
        raise FolderUnusable(
            "nothing can be written to {path}: {why}", path=here, why=(error.strerror or "").lower()
        ) from None
    # Its user has just said so: what is written is allowed as it is.
    allowing.allow(read_here().store.home, project_file(here))
    if json:
        screen.show_json({"file": str(here / PROJECT_FILE), "project": chosen, "environment": environment})
    screen.say(f"wrote {here / PROJECT_FILE}: commands in this folder are about project {chosen}")
    screen.say(f"if it is not there yet: sealrun project create {chosen}")


def named_after(folder: Path) -> str:
    """A project name from a folder's: `My Shop` becomes `my-shop`."""
    words = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:63].rstrip("-")
    return words or "project"
