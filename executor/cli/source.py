"""`sealrun source`: create, list, delete data sources. Secrets stand in them by name."""

from typing import Annotated

import typer

from executor.cli import connection, connection_test
from executor.cli.typed import options
from executor.cli.typed.connection import Extra, File, Force, Name, Option, Replace
from executor.cli.typed.new_value import CatchesValues

app = typer.Typer(
    help="Create, list, test and delete data sources: buckets and databases, with secrets by name.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command(cls=CatchesValues)
def create(
    name: Name,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="s3, supabase-storage or postgres.")
    ] = None,
    bucket: Annotated[str | None, typer.Option("--bucket", metavar="BUCKET", help="The bucket's name.")] = None,
    prefix: Annotated[str | None, typer.Option("--prefix", metavar="PATH", help="A path inside the bucket.")] = None,
    region: Annotated[str | None, typer.Option("--region", metavar="REGION", help="The region.")] = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="URL", help="The server, where it is not Amazon's.")
    ] = None,
    addressing: Annotated[
        str | None,
        typer.Option(
            "--addressing",
            metavar="STYLE",
            help="auto, path or virtual (else path where there is an endpoint, and auto where there is none).",
        ),
    ] = None,
    project_ref: Annotated[
        str | None, typer.Option("--project-ref", metavar="REF", help="The Supabase project: https://REF.supabase.co.")
    ] = None,
    credentials_secret: Annotated[
        str | None,
        typer.Option("--credentials-secret", metavar="SECRET", help="The name of the JSON secret that has the keys."),
    ] = None,
    url_secret: Annotated[
        str | None,
        typer.Option("--url-secret", metavar="SECRET", help="The name of the secret that is the database's URL."),
    ] = None,
    assume_role: Annotated[
        str | None,
        typer.Option("--assume-role", metavar="ARN", help="Give runs this role's short-lived keys, and not those."),
    ] = None,
    external_id: Annotated[
        str | None, typer.Option("--external-id", metavar="ID", help="What the role's trust policy asks for.")
    ] = None,
    sts_endpoint: Annotated[
        str | None, typer.Option("--sts-endpoint", metavar="URL", help="Where the role is assumed (else at AWS).")
    ] = None,
    file: File = None,
    replace: Replace = False,
    project: options.Project = None,
    environment: options.Environments = None,
    json: options.Json = False,
    yes: options.NeverAsks = False,
    extra: Extra = None,
) -> None:
    """Make a data source of one or more environments, from options or a file.

    Where a secret is meant its name is given, never a value; it may be stored later.
    """
    given = (
        Option("--bucket", "bucket", bucket),
        Option("--prefix", "prefix", prefix),
        Option("--region", "region", region),
        Option("--endpoint", "endpoint", endpoint),
        Option("--addressing", "addressing", addressing),
        Option("--project-ref", "project", project_ref),
        Option("--credentials-secret", "credentials", credentials_secret, secret=True),
        Option("--url-secret", "url", url_secret, secret=True),
        Option("--assume-role", "assume_role", assume_role),
        Option("--external-id", "external_id", external_id),
        Option("--sts-endpoint", "sts_endpoint", sts_endpoint),
    )
    connection.create("source", name, kind, given, file, replace, project, environment, extra, json)


@app.command("list")
def list_(
    project: options.Project = None, environment: options.AnyEnvironment = None, json: options.Json = False
) -> None:
    """List data sources, of all environments unless -e says one."""
    connection.list_("source", project, environment, json)


@app.command()
def delete(
    name: Name,
    project: options.Project = None,
    environment: options.Environment = None,
    force: Force = False,
    yes: options.Yes = False,
    json: options.Json = False,
) -> None:
    """Delete a data source; the secrets it names stay. One that a catalog names stays, without --force."""
    connection.delete("source", name, project, environment, force, yes, json)


@app.command()
def test(
    name: Name,
    project: options.Project = None,
    environment: options.Environment = None,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """Make one real, harmless call with a data source, in a run's own sandbox, and keep how it went."""
    connection_test.test("source", name, project, environment, json)
