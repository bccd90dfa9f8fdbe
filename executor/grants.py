"""Who may do what to which table: PostgreSQL's own lock, for whoever comes in with a URL of the database.

One table for three roles. `worker` is for workers, `server` for the API server, `auditor` for who only reads what was
done. Who owns the tables, and migrates them, has all of it and needs none of these. An empty cell is nothing at all.
A role that locks a row for a transaction needs the right to update a column of it; where nothing else of the row is
its to write, that is one which nothing depends on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import Connection, text

from executor.errors import GrantsRefused
from secretstore.database import Database


@dataclass(frozen=True)
class Rights:
    """What each role may do to a table, as GRANT says it, and why."""

    worker: str
    server: str
    auditor: str
    why: str


_READ = "select"
_ALL = "select, insert, update, delete"
_LEFT = "select, insert, delete"

GRANTS: Mapping[str, Rights] = MappingProxyType(
    {
        "secretstore_project": Rights(
            "select, update (deleted_at, deleted_by, destroy_at, destroyed_at)",
            "select, insert, update", "select (id, name, destroyed_at)",
            "workers destroy what was deleted long enough ago; nobody deletes the row, which receipts refer to;"
            " an auditor finds a chain by its project's name",
        ),
        "secretstore_environment": Rights(
            "select, update (generation, created_at), delete", "select, insert, update", "",
            "with an environment go its wrapped keys: the server deletes none; a worker does, for who asked it",
        ),
        "secretstore_key_pair": Rights(
            _ALL, "select, insert", "",
            "the server makes environments; wrapped keys that are there it neither changes nor deletes: workers rotate",
        ),
        "secretstore_secret": Rights(
            "select, update", _ALL, "", "stored and deleted through the server, renamed by workers"
        ),
        "secretstore_secret_version": Rights(
            _ALL, _ALL, "", "stored through the server; a rotation by a worker seals anew and deletes what it replaced"
        ),
        "secretstore_secret_reservation": Rights("", _ALL, "", "what may be sealed next, between the two steps"),
        "secretstore_variable": Rights(_READ, _ALL, "", "plain configuration"),
        "secretstore_connection": Rights(
            "select, update (tested_at, test_outcome, test_seconds, test_message, test_run)",
            _ALL, "",
            "who changes where a source leads is sent what it is filled in with: no worker does",
        ),
        "secretstore_audit_event": Rights(
            "select, insert", "select, insert", _READ, "the chain of events grows, and nobody changes what is in it"
        ),
        "secretstore_audit_waiting": Rights(
            "select, insert, delete", "select, insert", _READ, "workers link what waits; nobody else takes it away"
        ),
        "executor_run": Rights(
            "select, update", "select, insert, update", "", "workers accept none: a run is submitted, or refused"
        ),
        "executor_attempt": Rights(
            "select, insert, update", "select, update", "", "begun by workers; the server ends cancelled ones"
        ),
        "executor_receipt": Rights("select, insert, update", _READ, _READ, "written by workers, and by nobody else"),
        "executor_receipt_secret": Rights("select, insert, update", _READ, _READ, "as the receipt"),
        "executor_receipt_connection": Rights(
            _ALL, _READ, _READ,
            "as the receipt; what an opened secret turns out to lack is taken out again",
        ),
        "executor_job": Rights(
            "select, update", "select, insert", "", "asked for through the server, done by workers"
        ),
        "executor_job_receipt": Rights("select, insert, update", _READ, _READ, "as the receipts of runs"),
        "executor_job_receipt_secret": Rights("select, insert", _READ, _READ, "as the receipts of runs"),
        "executor_log_chunk": Rights(_LEFT, "select, delete", "", "what runs left, which is pruned"),
        "executor_result": Rights(_LEFT, "select, delete", "", "what runs left, which is pruned"),
        "executor_sample": Rights(_LEFT, "select, delete", "", "what runs left, which is pruned"),
        "executor_metric": Rights(_LEFT, "select, delete", "", "what runs left, which is pruned"),
        "executor_masked": Rights(
            _ALL, "select, delete", _READ, "counted by workers: evidence, and pruned"
        ),
        "executor_output": Rights(_LEFT, "select, delete", "", "what runs left, which is pruned"),
        "executor_output_chunk": Rights(_LEFT, "select, delete", "", "what runs left, which is pruned"),
        "executor_source_bundle": Rights(
            "select, update (used_at), delete", "select, insert, update", "",
            "uploaded through the server, fetched by workers",
        ),
        "executor_source_bundle_chunk": Rights("select, delete", "select, insert", "", "as the bundle"),
        "executor_source_upload": Rights(
            "select, delete", "select, insert, update", "", "who has sent a bundle; gone with it"
        ),
        "executor_worker": Rights(
            _ALL, _READ, "", "heartbeats; the server says who lives"
        ),
        "executor_account": Rights("", _ALL, "", "people and service accounts, with hashes of passwords"),
        "executor_group": Rights("", _ALL, "", "groups that log-ins tell"),
        "executor_group_member": Rights("", _ALL, "", "as the groups"),
        "executor_membership": Rights("", _ALL, "", "who may do what: a worker asks for plans, not for people"),
        "executor_session": Rights("", _ALL, "", "browsers that are logged in"),
        "executor_token": Rights("", _ALL, "", "API tokens, by their hashes"),
        "executor_link": Rights("", _ALL, "", "links that work once"),
        "executor_device_code": Rights("", _ALL, "", "command lines that wait to be let in"),
        "executor_command_line_code": Rights("", _ALL, "", "command lines that a browser lets in"),
        "executor_oidc_state": Rights("", _ALL, "", "log-ins that were sent to an issuer"),
        "executor_attempts": Rights("", _ALL, "", "counters that slow down who guesses"),
        "executor_answer": Rights("", _ALL, "", "answers to requests that may be sent again"),
        "secretstore_revision": Rights(_READ, _READ, _READ, "every program looks whether the tables are its own"),
        "executor_revision": Rights(_READ, _READ, _READ, "every program looks whether the tables are its own"),
    }
)  # fmt: skip
"""By table. One that is not here is nobody's but its owner's, and a test says so."""

ROLES = ("worker", "server", "auditor")


def statements(connection: Connection, named: Mapping[str, str]) -> Iterator[str]:
    """Yield what gives these roles their rights and no others, whatever they had; a role that is missing is made.

    Args:
        connection: to the database, which knows what there is.
        named: what each of `ROLES` is called there.
    """
    quote = connection.dialect.identifier_preparer.quote_identifier
    schema = quote(str(connection.execute(text("SELECT current_schema()")).scalar_one()))
    there = set(connection.execute(text("SELECT rolname FROM pg_roles")).scalars())
    owned = "SELECT sequencename FROM pg_sequences WHERE schemaname = current_schema() ORDER BY 1"
    sequences = [quote(name) for name in connection.execute(text(owned)).scalars()]
    for part, name in named.items():
        role = quote(name)
        if name not in there:
            yield f"CREATE ROLE {role} NOLOGIN"
        yield f"GRANT USAGE ON SCHEMA {schema} TO {role}"
        for table, rights in GRANTS.items():
            yield f"REVOKE ALL ON {quote(table)} FROM {role}"
            if given := getattr(rights, part):
                yield f"GRANT {given} ON {quote(table)} TO {role}"
        for sequence in sequences:
            yield f"REVOKE ALL ON SEQUENCE {sequence} FROM {role}"
            if part != "auditor":
                yield f"GRANT USAGE ON SEQUENCE {sequence} TO {role}"


def grant(db: Database, named: Mapping[str, str]) -> list[str]:
    """Execute `statements` in one transaction, so that nobody is without rights in between; return them.

    Raises:
        GrantsRefused: the database is not PostgreSQL, or two roles have one name.
        DatabaseForbids: this user of it may not give these rights, or make roles.
    """
    _check(db, named)
    with db.writing() as session:
        connection = session.connection()
        done = list(statements(connection, named))
        for one in done:
            connection.execute(text(one.replace(":", r"\:")))
    return done


def shown(db: Database, named: Mapping[str, str]) -> list[str]:
    """Return the statements without executing one.

    Raises:
        GrantsRefused: as of `grant`.
    """
    _check(db, named)
    with db.reading() as session:
        return list(statements(session.connection(), named))


def _check(db: Database, named: Mapping[str, str]) -> None:
    if db.dialect != "postgresql":
        raise GrantsRefused(url=db.url_shown)
    if len(set(named.values())) < len(named):
        raise GrantsRefused("two of the roles {names} are one", names=", ".join(named.values()), hint="name three")
