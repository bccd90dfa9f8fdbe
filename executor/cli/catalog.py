"""`sealrun catalog`: create, list, delete catalogs. Secrets stand in them by name."""

from typing import Annotated

import typer

from executor.cli import connection, connection_test
from executor.cli.typed import options
from executor.cli.typed.connection import Extra, File, Force, Name, Option, Replace
from executor.cli.typed.new_value import CatchesValues

app = typer.Typer(
    help="Create, list, test and delete catalogs: Unity Catalog, Iceberg, Glue.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command(cls=CatchesValues)
def create(
    name: Name,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help="unity-catalog, iceberg-rest or glue.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option("--endpoint", metavar="URL", help="The server.")] = None,
    token_secret: Annotated[
        str | None, typer.Option("--token-secret", metavar="SECRET", help="The name of the secret that is the token.")
    ] = None,
    credential_secret: Annotated[
        str | None,
        typer.Option(
            "--credential-secret", metavar="SECRET", help="The name of the secret that is client-id:client-secret."
        ),
    ] = None,
    warehouse: Annotated[
        str | None, typer.Option("--warehouse", metavar="NAME", help="The warehouse; for Unity the catalog's name.")
    ] = None,
    region: Annotated[str | None, typer.Option("--region", metavar="REGION", help="The region.")] = None,
    catalog_id: Annotated[
        str | None, typer.Option("--catalog-id", metavar="ID", help="Whose catalog it is (else the keys' own account).")
    ] = None,
    scope: Annotated[
        str | None, typer.Option("--scope", metavar="SCOPE", help="What --credential-secret asks a token for.")
    ] = None,
    oauth2_server: Annotated[
        str | None,
        typer.Option("--oauth2-server", metavar="URL", help="Where --credential-secret asks for a token."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source", metavar="SOURCE", help="The data source that has the tables' files: its server and its keys."
        ),
    ] = None,
    credentials_secret: Annotated[
        str | None,
        typer.Option("--credentials-secret", metavar="SECRET", help="The name of the JSON secret that has the keys."),
    ] = None,
    file: File = None,
    replace: Replace = False,
    project: options.Project = None,
    environment: options.Environments = None,
    json: options.Json = False,
    yes: options.NeverAsks = False,
    extra: Extra = None,
) -> None:
    """Make a catalog of one or more environments, from options or a file.

    Where a secret is meant its name is given, never a value; it may be stored later.
    """
    given = (
        Option("--endpoint", "endpoint", endpoint),
        Option("--token-secret", "token", token_secret, secret=True),
        Option("--credential-secret", "credential", credential_secret, secret=True),
        Option("--warehouse", "warehouse", warehouse),
        Option("--region", "region", region),
        Option("--catalog-id", "catalog_id", catalog_id),
        Option("--scope", "scope", scope),
        Option("--oauth2-server", "oauth2_server", oauth2_server),
        Option("--source", "source", source),
        Option("--credentials-secret", "credentials", credentials_secret, secret=True),
    )
    connection.create("catalog", name, kind, given, file, replace, project, environment, extra, json)


@app.command("list")
def list_(
    project: options.Project = None, environment: options.AnyEnvironment = None, json: options.Json = False
) -> None:
    """List catalogs, of all environments unless -e says one."""
    connection.list_("catalog", project, environment, json)


@app.command()
def delete(
    name: Name,
    project: options.Project = None,
    environment: options.Environment = None,
    force: Force = False,
    yes: options.Yes = False,
    json: options.Json = False,
) -> None:
    """Delete a catalog; the secrets it names stay."""
    connection.delete("catalog", name, project, environment, force, yes, json)


@app.command()
def test(
    name: Name,
    project: options.Project = None,
    environment: options.Environment = None,
    json: options.Json = False,
    yes: options.NeverAsks = False,
) -> None:
    """Make one real, harmless call with a catalog, in a run's own sandbox, and keep how it went."""
    connection_test.test("catalog", name, project, environment, json)
