"""Errors of running code: one class for each thing that a caller can do differently.

Processes that see plaintext import this, so it imports only the standard library and the store's errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from secretstore.errors import DatabaseUnavailable, SealrunError, installing

# -- asking for a run


class NoProjectNamed(SealrunError):
    """no project is named"""

    code = "no_project_named"
    status = 400
    exit_code = 2
    hint = "give -p PROJECT, set SEALRUN_PROJECT, or run `sealrun init` to write .sealrun.toml in this folder"


class FolderNotAllowed(SealrunError):
    """{path} chooses {says}, and {changed}"""

    code = "folder_not_allowed"
    status = 403
    exit_code = 2
    hint = "look at it, then: sealrun allow {folder}; or choose yourself: -p PROJECT -e ENV"


class RequestUnclear(SealrunError):
    """the request is not clear"""

    code = "request_unclear"
    status = 422
    exit_code = 2


class UnknownOutput(SealrunError):
    """run {run} left no file {path}"""

    code = "unknown_output"
    status = 404
    exit_code = 2
    hint = "see what it left: sealrun runs show {run}"


class KeyTaken(SealrunError):
    """the idempotency key "{key}" belongs to run {run}, which has {differs}"""

    code = "idempotency_key_taken"
    status = 409
    exit_code = 2
    hint = "use another key; to see that run: sealrun runs show {run}"


class TargetUnusable(SealrunError):
    """there is no file {path}"""

    code = "target_unusable"
    status = 422
    exit_code = 125
    hint = "paths are relative to the source root {root}; to run a command, put -- before it: -- {path}"


class ArgumentsRefused(SealrunError):
    """{function}{signature}: {why}"""

    code = "arguments_refused"
    status = 422
    exit_code = 2


class ConnectionNotGiven(SealrunError):
    """the parameter {parameter} cannot be given: {why}"""

    code = "connection_not_given"
    status = 422


class SourceIsHome(SealrunError):
    """the source root would be {root}, and a run must not read a whole home folder"""

    code = "source_is_home"
    status = 422
    exit_code = 125
    hint = "move the job into its own folder, or run `sealrun init` in its folder"


class SourceRefused(SealrunError):
    """{path} cannot be uploaded: {why}"""

    code = "source_refused"
    status = 422
    exit_code = 125
    hint = "add it to .sealrunignore, or run from the folder itself: --no-bundle"


class PythonUnavailable(SealrunError):
    """no Python interpreter for the run: {why}"""

    code = "python_unavailable"
    status = 422
    exit_code = 125
    hint = "choose one with --python PATH, or create a .venv in the source root"


class RequirementsRefused(SealrunError):
    """{place}: {why}"""

    code = "requirements_refused"
    status = 422
    exit_code = 125
    hint = "write a requirement as a name with optional versions: pandas, pandas==2.2.3, pandas[parquet]>=2"


# -- runs


class UnknownRun(SealrunError):
    """no run "{reference}" """

    code = "unknown_run"
    status = 404
    exit_code = 2
    hint = "list them: sealrun runs list"


class RunOver(SealrunError):
    """run {run} has already ended: {state}"""

    code = "run_over"
    status = 409


class WaitTimedOut(SealrunError, TimeoutError):
    """run {run} did not end within {seconds:g} seconds: it is {state}"""

    code = "wait_timed_out"
    status = 504
    hint = "it continues; wait again, or cancel it"


class WaitRefused(SealrunError):
    """run {run} may need the slot that waits for it: this task's worker serves the run's queue, {queue}"""

    code = "wait_refused"
    status = 409
    hint = "let the task look again later, without a slot; docs/how-to/celery-tasks.md says how"


class RunOutputsMissing(SealrunError):
    """run {run} left no files"""

    code = "run_outputs_missing"
    status = 404


class RunPruned(SealrunError):
    """what run {run} left was deleted on {at} by {by}"""

    code = "run_pruned"
    status = 410
    hint = "how it ended and its receipts are there: sealrun runs show {run}"


@dataclass(frozen=True)
class Raised:
    """An exception in a run, masked."""

    type: str = ""
    """Its class, with its module."""
    message: str = ""
    traceback: str = ""


@dataclass(frozen=True)
class Cause(Raised):
    """One that belongs to a problem."""

    relation: str = ""
    """`cause`, `context` or `member`."""


@dataclass(frozen=True)
class Problem(Raised):
    """The exception that ended a run, and up to ten that belong to it, nearest first."""

    causes: tuple[Cause, ...] = ()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Problem":
        """As it is stored, with what is missing left empty."""
        causes = tuple(Cause(**_texts(one, Cause)) for one in document.get("causes") or ())
        return cls(**_texts(document, Raised), causes=causes)


def _texts(document: Mapping[str, Any], of: type[Raised]) -> dict[str, str]:
    return {field.name: str(document[field.name]) for field in fields(of) if field.name in document}


class RunUnsuccessful(SealrunError):
    """run {run} {how}"""

    code = "run_unsuccessful"
    status = 409

    state: str | None
    """`failed` or `cancelled`."""
    reason: str | None
    """Why, as a word: `exit_code`, `exception`, `signal`, `timed_out`, …"""
    problem: Problem | None
    """The exception in the run, masked."""

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        state: str | None = None,
        reason: str | None = None,
        problem: Problem | None = None,
        exit_code: int | None = None,
        **names: Any,
    ) -> None:
        super().__init__(message, hint=hint, **names)
        self.state, self.reason, self.problem = state, reason, problem
        if exit_code is not None:
            self.exit_code = exit_code


class RunFailed(RunUnsuccessful):
    """run {run} failed: {how}"""

    code = "run_failed"


class RunTimedOut(RunFailed):
    """run {run} failed: {how}"""

    code = "run_timed_out"
    exit_code = 124


class RunOutOfMemory(RunFailed):
    """run {run} failed: {how}"""

    code = "run_out_of_memory"
    exit_code = 137


class RunLost(RunFailed):
    """run {run} failed: {how}"""

    code = "run_lost"


class RunNeverStarted(RunFailed):
    """run {run} failed before it began: {how}"""

    code = "run_never_started"
    exit_code = 125


class RunCancelled(RunUnsuccessful):
    """run {run} was cancelled"""

    code = "run_cancelled"
    exit_code = 130


# -- in a worker, before the run starts


class SecretsUnavailable(SealrunError):
    """the secrets could not be opened: {why}"""

    # Like the store's errors, its subclasses end a run with the reason `secrets_unavailable`.
    code = "secrets_unavailable"
    exit_code = 125


class PlanRefused(SealrunError):
    """this worker does not carry it out: {why}"""

    code = "plan_refused"
    status = 403
    exit_code = 125
    hint = "its worker takes what the API server has accepted, as it was accepted (SEALRUN_DOORS=api): submit it there"


class ReceiptRefused(SecretsUnavailable):
    """the database did not store the run's receipt, so no secret was opened"""

    code = "receipt_refused"
    hint = "see the worker's log for the database's reason; sealrun does not decrypt what it cannot record"


class RunMisplaced(SecretsUnavailable):
    """the run names {claimed}, but its environment's id belongs to {found}: nothing was opened"""

    code = "run_misplaced"
    hint = "submit it again; sealrun never writes such a row, so check who can write to the database"


class SourceUnavailable(SealrunError):
    """the uploaded source {digest} is no longer in the database"""

    code = "source_unavailable"
    status = 410
    hint = "submit the run again to upload it again"


class SourceDamaged(SourceUnavailable):
    """the uploaded source {digest} is damaged: {why}"""

    code = "source_damaged"


class PathRefused(SealrunError):
    """{path} cannot be read by the run's user {uid}"""

    code = "path_refused"
    hint = "make it readable for others (chmod o+rX), or start the worker as an ordinary user"


class EnvironmentNotBuilt(SealrunError):
    """the run's Python environment could not be built: {why}"""

    code = "environment_not_built"


class SupervisorLost(SealrunError):
    """the run's supervisor did not start"""

    code = "supervisor_lost"
    status = 503


class ProgramRefused(SealrunError):
    """{name} is {path}, and {part} is closed to runs"""

    code = "program_refused"
    status = 422
    exit_code = 125
    hint = "install it in /usr/local or /opt on the worker, or have its operator open the folder: SEALRUN_READABLE"


class StartFailed(SealrunError):
    """the run's process {why}"""

    code = "start_failed"


# -- workers, broker, machine


class BrokerUnavailable(SealrunError):
    """the embedded broker did not start: {why}"""

    code = "broker_unavailable"
    status = 503


class StandbyFailed(SealrunError):
    """the worker started for this run ended with status {status}{said}"""

    code = "standby_failed"
    status = 503
    exit_code = 125
    hint = "see its log: {log}"


class NoWorkerSeen(SealrunError):
    """no worker accepts runs from this machine: {since}"""

    code = "no_worker_seen"
    status = 503
    exit_code = 125
    hint = "start one: sealrun worker"


class NeverServed(SealrunError):
    """this run would wait in vain: {why}"""

    code = "never_served"
    status = 422
    exit_code = 125
    hint = "see what this machine offers: sealrun doctor; another one is named by its path: --python PATH"


class WorkerUnsupported(SealrunError):
    """a worker needs Linux, whose kernel isolates the runs; this is {system}"""

    code = "worker_unsupported"
    hint = "run the worker on Linux, with the same database and broker; everything else works here"


class WorkerUnwell(SealrunError):
    """no worker is here: none has its workspaces in {root}"""

    code = "worker_unwell"
    status = 503
    hint = "start one: sealrun worker; a check needs the worker's own SEALRUN_HOME and SEALRUN_WORKSPACES"


class MetricsUnavailable(SealrunError):
    """SEALRUN_METRICS_LISTEN needs prometheus-client, which is not installed"""

    code = "metrics_unavailable"
    hint = f"{installing('metrics')}; or unset SEALRUN_METRICS_LISTEN"


class ZygoteFailed(SealrunError):
    """the process that starts runs ended: {why}"""

    code = "zygote_failed"
    status = 503


# -- keys


class KeyOperationFailed(SealrunError):
    """the key operation failed: {why}"""

    code = "key_operation_failed"


class UnknownJob(SealrunError):
    """no job "{job}" in {project}, or several whose ids begin so"""

    code = "unknown_job"
    status = 404
    exit_code = 2
    hint = "list them: sealrun job list -p {project}"


class VersionsBroken(SealrunError):
    """{project}/{environment} has {count} version(s) that cannot be opened: {names}"""

    code = "versions_broken"
    status = 409
    hint = "nothing was changed; set or delete these secrets, or drop the versions for good: --drop-broken"


# -- who asks, and what they may do


class Unauthenticated(SealrunError):
    """this needs somebody to be logged in, or a token"""

    # One class whatever is wrong: an unknown name, a wrong password and a disabled person are answered alike.
    code = "unauthenticated"
    status = 401
    hint = "log in: sealrun login; or set SEALRUN_TOKEN to a token that is in force"


class Forbidden(SealrunError):
    """{name} may not {verb} {place}"""

    code = "forbidden"
    status = 403


class CredentialAsked(SealrunError):
    """{act} asks for your password, or your log-in, again"""

    code = "credential_asked"
    status = 403
    hint = "log in again, and do it within {minutes} minutes"


class TooManyAttempts(SealrunError):
    """too many attempts: wait {seconds} seconds"""

    code = "too_many_attempts"
    status = 429


class UnknownAccount(SealrunError):
    """no person or service account "{name}" """

    code = "unknown_account"
    status = 404
    exit_code = 2
    hint = "list them: sealrun user list"


class UnknownToken(SealrunError):
    """no token "{reference}" """

    code = "unknown_token"
    status = 404
    exit_code = 2
    hint = "list them: sealrun token list"


class NotGiven(SealrunError):
    """{name} has no role "{role}" for {place}"""

    code = "not_given"
    status = 404
    exit_code = 2
    hint = "see who has: sealrun member list"


class LastAdmin(SealrunError):
    """{name} is the last admin"""

    code = "last_admin"
    status = 409
    exit_code = 2
    hint = "make another one first: sealrun member add NAME --role admin --installation"


class PasswordRefused(SealrunError):
    """the password is refused: {why}"""

    code = "password_refused"
    status = 422
    exit_code = 2


class LinkSpent(SealrunError):
    """this link is not in force: it was used, it is older than {minutes} minutes, or there is an admin"""

    code = "link_spent"
    status = 410
    hint = "on the machine itself: sealrun user create NAME --admin"


class CodeRefused(SealrunError):
    """no command line waits with this code"""

    code = "code_refused"
    status = 404
    hint = "a code holds for ten minutes; compare it with the one on your terminal, or start anew: sealrun login"


class ProviderRefused(SealrunError):
    """the provider did not let you in"""

    code = "provider_refused"
    status = 502
    hint = "begin the log-in again; if that does not help, the server's operator looks at SEALRUN_OIDC_ISSUER"


class AnswerPending(SealrunError):
    """the request with this Idempotency-Key is still being answered"""

    code = "answer_pending"
    status = 409
    hint = "send it again in a moment"


class KeyOfAnother(SealrunError):
    """this Idempotency-Key belongs to a request with another body"""

    code = "key_of_another"
    status = 422
    hint = "use a new key for a new request"


# -- files that a person names


class FileUnreadable(SealrunError):
    """{path} cannot be read: {why}"""

    code = "file_unreadable"
    status = 422
    exit_code = 2


class FileInvalid(SealrunError):
    """{path}: {why}"""

    code = "file_invalid"
    status = 422
    exit_code = 2


# -- the database's roles


class GrantsRefused(SealrunError):
    """the database {url} has no roles to give rights to"""

    code = "grants_refused"
    status = 422
    exit_code = 2
    hint = "roles are PostgreSQL's: set SEALRUN_DATABASE_URL to one; a SQLite file has its owner and its mode"


# -- the command line


class Misuse(SealrunError):
    """the command is not valid"""

    code = "misuse"
    status = 400
    exit_code = 2

    def __init__(
        self, message: str | None = None, *, command: str | None = None, hint: str | None = None, **names: Any
    ) -> None:
        """Use the help page of `command` as the hint."""
        super().__init__(message, hint=hint or (f"see: sealrun {command} --help" if command else None), **names)


class NeedsYes(SealrunError):
    """{act}: cannot ask for confirmation without a terminal"""

    code = "needs_yes"
    status = 400
    exit_code = 2
    hint = "add --yes"


class ImportRefused(SealrunError):
    """{source} cannot be imported; nothing was written:{listing}"""

    code = "import_refused"
    status = 422


class WouldBeRefused(SealrunError):
    """this run would be refused:{listing}"""

    code = "would_be_refused"
    status = 422


# -- a server


class ServerUnusable(SealrunError):
    """{server} cannot be used: {why}"""

    code = "server_unusable"
    exit_code = 2


class ServerAway(DatabaseUnavailable):
    """the server {server} does not answer: {why}"""

    code = "server_away"
    status = 503
    hint = "look whether it runs, and whether this machine reaches it: sealrun whoami"
    sent = True
    """Whether the request may have arrived: without a connection it has not."""


class ServerNotAllowed(SealrunError):
    """{path} names the server {server}, and you have neither logged in there nor allowed the file"""

    code = "server_not_allowed"
    status = 403
    exit_code = 2
    hint = "if you know it: sealrun login {server}; or choose yourself: sealrun --server URL …"


class NotLoggedIn(SealrunError):
    """you are not logged in to {server}"""

    code = "not_logged_in"
    status = 401
    exit_code = 2
    hint = "log in: sealrun login {server}; or set SEALRUN_SERVER, and SEALRUN_TOKEN to a token of it"


class LogInFailed(SealrunError):
    """you could not be logged in to {server}: {why}"""

    code = "log_in_failed"
    status = 401
    hint = "try again: sealrun login {server}"


class AddressTaken(SealrunError):
    """the server cannot listen on {address}: {why}"""

    code = "address_taken"
    hint = "end what listens there, or choose another: --listen 127.0.0.1:PORT, or SEALRUN_LISTEN"


class NotConfined(SealrunError):
    """the server does not start, as it could read key files: {why}"""

    code = "not_confined"
    hint = "start it with `sealrun serve`, in a process of its own"


class OperatorsOnly(SealrunError):
    """{what} is for who operates sealrun, on a machine that has the database, and here the server {server} is chosen"""

    code = "operators_only"
    status = 403
    exit_code = 2
    hint = "if this is that machine: unset SEALRUN_SERVER here, or log out with sealrun logout"


# -- from one process to another


def error_of(code: str, message: str, hint: str | None = None) -> SealrunError:
    """The error that another process has told of: of the class that has this code, else of none in particular."""
    kind = _by_code().get(code, SealrunError)
    error = kind.__new__(kind)
    error.args, error.message, error.names = (message,), message, {}
    error.advise(hint)
    return error


@cache
def _by_code() -> Mapping[str, type[SealrunError]]:
    found: dict[str, type[SealrunError]] = {}
    left = [SealrunError]
    while left:
        kind = left.pop()
        found.setdefault(
            kind.code, kind
        )  # a class that has its parent's code stands for it only where nobody else does
        left += kind.__subclasses__()
    return found
