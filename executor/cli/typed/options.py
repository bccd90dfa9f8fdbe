"""Options that several commands share."""

from typing import Annotated

import typer

from executor.cli.typed import completion

Project = Annotated[
    str | None,
    typer.Option(
        "-p",
        "--project",
        autocompletion=completion.projects,
        metavar="PROJECT",
        help="The project (else SEALRUN_PROJECT, else .sealrun.toml).",
    ),
]
Environment = Annotated[
    str | None,
    typer.Option(
        "-e",
        "--environment",
        autocompletion=completion.environments,
        metavar="ENV",
        help='The environment (else SEALRUN_ENV, else "default").',
    ),
]
AnyEnvironment = Annotated[
    str | None,
    typer.Option(
        "-e",
        "--environment",
        autocompletion=completion.environments,
        metavar="ENV",
        help="This environment alone (else all of them).",
    ),
]
AnyProject = Annotated[
    str | None,
    typer.Option(
        "-p",
        "--project",
        autocompletion=completion.projects,
        metavar="PROJECT",
        help="The project (else SEALRUN_PROJECT, else .sealrun.toml, else all).",
    ),
]
Environments = Annotated[
    list[str] | None,
    typer.Option(
        "-e",
        "--environment",
        autocompletion=completion.environments,
        metavar="ENV",
        help="The environment; repeat it to set several.",
    ),
]
CreateEnvironment = Annotated[
    bool, typer.Option("--create-env", help="Make the environment if the project has none of this name.")
]
Installation = Annotated[
    bool, typer.Option("--installation", help="What is of no project, or of all of them; without -p.")
]
Pins = Annotated[
    list[str] | None,
    typer.Option(
        "--pin",
        metavar="[ENV=]PIN",
        help="Seal to this key pair alone, or one that follows from it; repeat it for several environments.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
NeverAsks = Annotated[bool, typer.Option("--yes", "-y", help="No effect: this command never asks.")]
YesOfInstallers = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Do not ask, as it does where installers act on NAME."),
]
