"""`sealrun allow`: let the project file of a folder choose the project, after a look at it."""

from pathlib import Path
from typing import Annotated

import typer

from executor.cli.here import confirm
from executor.cli.shown import screen
from executor.cli.typed import options
from executor.errors import Misuse
from executor.settings import read_here
from executor.source.root import ProjectFile, strangers
from executor.submission import allowing
from executor.submission.context import current_folder, nearest_project_file
from secretstore.errors import FolderUnusable

app = typer.Typer(help="Let the project file of a folder choose the project of commands there.", add_completion=False)


@app.command()
def allow(
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="Where the search upwards begins (else here).")
    ] = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Allow nothing of FOLDER any more.")] = False,
    listed: Annotated[
        bool, typer.Option("--list", help="List the folders that are allowed, and what each chooses.")
    ] = False,
    json: options.Json = False,
    yes: options.Yes = False,
) -> None:
    """Let .sealrun.toml, or [tool.sealrun] in pyproject.toml, choose the project and the environment of commands there.

    Such a file comes with a checkout, whoever wrote it. It counts as it is now: when it says something else it has to
    be allowed again. `sealrun init` allows what it writes. -p, -e, SEALRUN_PROJECT and SEALRUN_ENV need no permission.
    """
    home = read_here().store.home
    if revoke and listed:
        raise Misuse("--revoke and --list do not go together", command="allow")
    if listed:
        _list(allowing.allowed_folders(home), json)
        return
    begin = (folder or current_folder()).absolute()
    if revoke:
        _revoke(home, begin, json)
        return
    if not begin.is_dir():
        raise _no_folder(begin)
    file = nearest_project_file(begin)
    if file.path is None or not (file.project or file.environment or file.server):
        passed = strangers(begin)
        why = f"{passed} belongs to another user, and is never followed" if passed else "no project file there says any"
        raise FolderUnusable(
            "nothing chooses a project or an environment for {path}: {why}", path=begin, why=why,
            hint="name it on the command line: -p PROJECT; or write a file of your own: sealrun init",
        )  # fmt: skip
    new = not allowing.is_allowed(home, file)
    if new:
        confirm(f"follow {file.path}, which chooses {allowing.says(file)}", yes)
        allowing.allow(home, file)
    if json:
        told = {"file": str(file.path), "project": file.project, "environment": file.environment, "new": new}
        screen.show_json(told)
    screen.say(f"{file.path} {'is' if new else 'was already'} allowed to choose {allowing.says(file)}")


def _list(found: list[allowing.AllowedFolder], json: bool) -> None:
    if json:
        told = [
            {"folder": one.folder, "project": one.file.project, "environment": one.file.environment}
            | {"changed": one.changed}
            for one in found
        ]
        screen.show_json(told)
        return
    rows = [(one.folder, allowing.says(one.file), "changed since: not allowed" if one.changed else "") for one in found]
    screen.table(("folder", "chooses", "state"), rows, ("bold", "", "yellow"))


def _no_folder(path: Path) -> Misuse:
    if path.is_file():
        return Misuse("{path} is a file", path=path, hint=f"name the folder it lies in: sealrun allow {path.parent}")
    return Misuse("no such folder: {path}", path=path, hint="to see what is allowed: sealrun allow --list")


def _revoke(home: Path, begin: Path, json: bool) -> None:
    """Of the folder itself, or where it has none of the nearest above it that has a project file.

    Of a folder that was deleted since, only what was allowed of itself.
    """
    there = begin.is_dir()
    file = nearest_project_file(begin) if there else ProjectFile()
    places = [begin] if file.path is None else [begin, file.path.parent]
    revoked = [str(one) for one in dict.fromkeys(places) if allowing.revoke(home, one)]
    if not (revoked or there):
        raise _no_folder(begin)
    if json:
        screen.show_json({"revoked": revoked})
    for one in revoked:
        screen.say(f"nothing of {one} is allowed any more")
    if not revoked:
        screen.say(f"nothing of {begin} was allowed")
