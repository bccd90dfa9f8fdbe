"""The base of every error of both packages, and the errors of the secret store.

There is one class per thing that a caller can do differently. The first line of its docstring is its message. Messages,
hints and names hold keys and ids, never a value. Processes that see plaintext import this: the standard library only.
"""

from typing import Any, ClassVar


class SealrunError(Exception):
    """sealrun cannot do this"""

    code: ClassVar[str] = "sealrun_error"
    """The error for programs. It stays when the class is renamed."""
    status: ClassVar[int] = 500
    """The status of an HTTP API."""
    exit_code: int = 1
    """The exit code of the command line."""
    hint: str | None = None
    """The usual remedy. On the class a template like the docstring, on an error the text."""

    def __init__(self, message: str | None = None, *, hint: str | None = None, **names: Any) -> None:
        """Fill in the message.

        Args:
            message: a better template than the docstring. The class's hint may not fit it and is left out.
            hint: a better hint, not a template.
            names: values for the templates: keys and ids, never a secret.
        """
        usual = type(self).hint if message is None else None
        # Under `python -OO` there are no docstrings, only the code.
        sentence = (type(self).__doc__ or type(self).code).strip().partition("\n")[0]
        self.names = names
        self.message = (message or sentence).strip().format(**names)
        super().__init__(self.message)
        self.advise(hint or (usual.format(**names) if usual else None))

    def advise(self, hint: str | None) -> None:
        """Replace the hint. A traceback shows it below the message; `str` is the message without it."""
        self.hint = hint
        self.__notes__ = [f"hint: {hint}"] if hint else []

    def place(self, where: str) -> None:
        """Begin the message with which of several things it is of, as in `items[2]`."""
        self.message = f"{where}: {self.message}"
        self.args = (self.message,)

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross process boundaries whole: the default would format the message a second time."""
        return _remade, (type(self), self.message), self.__dict__


def _remade(kind: type[SealrunError], message: str) -> SealrunError:
    error = kind.__new__(kind)
    error.args = (message,)
    return error


class FolderUnusable(SealrunError):
    """{path} cannot be used: {why}"""

    code = "folder_unusable"


_INSTALL = "in the checkout of sealrun: uv pip install -e '.[{extra}]'"


def installing(extra: str) -> str:
    """How to install what sealrun needs for something: from its checkout, as its name in a registry is anybody's."""
    return _INSTALL.format(extra=extra)


# -- the secret store


class SecretStoreError(SealrunError):
    """the secret store cannot do this"""

    code = "secret_store_error"


class SettingsProblem(SecretStoreError):
    """the settings cannot be used:{listing}"""

    code = "settings_invalid"
    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        self.problems = list(problems)
        super().__init__(listing="".join(f"\n  {problem}" for problem in problems))


class LibraryMissing(SecretStoreError):
    """{what} needs {library}, which is not installed"""

    code = "library_missing"
    hint = _INSTALL


# -- projects, environments, names


class UnknownProject(SecretStoreError):
    """no project "{project}" """

    code = "unknown_project"
    status = 404
    exit_code = 2
    hint = "create it: sealrun project create {project}"


class ProjectDeleted(UnknownProject):
    """project "{project}" was deleted on {deleted} by {by}; on {destroyed} its keys are destroyed"""

    code = "project_deleted"
    status = 410
    hint = "bring it back: sealrun project restore {project}; or destroy it now: sealrun project delete {project} --now"


class UnknownEnvironment(SecretStoreError):
    """no environment "{environment}" in project "{project}" """

    code = "unknown_environment"
    status = 404
    exit_code = 2


class EnvironmentGone(SecretStoreError):
    """the environment with id {environment_id} no longer exists"""

    code = "environment_gone"
    status = 410
    exit_code = 125


class UnknownSecret(SecretStoreError):
    """no secret "{name}" in {project}/{environment}"""

    code = "unknown_secret"
    status = 404
    exit_code = 2
    hint = "store it: sealrun secret set {name} -p {project} -e {environment}"


class UnknownVariable(SecretStoreError):
    """no variable "{name}" in {project}/{environment}"""

    code = "unknown_variable"
    status = 404
    exit_code = 2
    hint = "list them: sealrun variable list -p {project} -e {environment}"


class UnknownConnection(SecretStoreError):
    """no {role} "{name}" in {project}/{environment}"""

    code = "unknown_connection"
    status = 404
    exit_code = 2
    hint = "create it: sealrun {role} create {name} -p {project} -e {environment} --kind KIND"


class AlreadyExists(SecretStoreError):
    """{what} "{name}" exists already"""

    code = "already_exists"
    status = 409


class InUse(SecretStoreError):
    """{what} is in use"""

    code = "in_use"
    status = 409


class NameRefused(SecretStoreError):
    """the name "{name}" is refused: {why}"""

    code = "name_refused"
    status = 422
    exit_code = 2


class ValueRefused(SecretStoreError):
    """the value of "{name}" is refused: {why}"""

    code = "value_refused"
    status = 422
    exit_code = 2


class ConnectionRefused(SecretStoreError):
    """{label} is refused: {why}"""

    code = "connection_refused"
    status = 422
    exit_code = 2

    @property
    def missing(self) -> list[str]:
        """The required fields that were not given."""
        found = self.names.get("missing")
        return list(found) if isinstance(found, list) else []


class RollbackRefused(SecretStoreError):
    """secret "{name}" of {project}/{environment} cannot be rolled back: {why}"""

    code = "rollback_refused"
    status = 409
    exit_code = 2


# -- sealing


class SealingOvertaken(SecretStoreError):
    """what was reserved in project "{project}" holds no more, and nothing was stored: {why}"""

    # Its remedy is the sealer's own: it reserves and seals again, a few times.
    code = "sealing_overtaken"
    status = 409
    hint = "reserve and seal again"


class SealedRefused(SecretStoreError):
    """the sealed value of "{name}" for {environment} is refused, and nothing was stored: {why}"""

    code = "sealed_refused"
    status = 422


class ReservationUnfit(SecretStoreError):
    """the answer does not fit what was asked, so nothing was sealed: {why}"""

    code = "reservation_unfit"
    status = 502


class DoesNotOpen(SecretStoreError):
    """the sealed value does not open"""

    code = "does_not_open"


class SealBroken(SecretStoreError):
    """secret "{name}" of {project}/{environment} does not open: it was not sealed for this place"""

    code = "seal_broken"
    hint = "it was altered, moved or restored; set it again: sealrun secret set {name} -p {project} -e {environment}"


class WrapBroken(SecretStoreError):
    """the wrapped private key does not unwrap: it was altered, or wrapped for another environment"""

    code = "wrap_broken"


# -- key pairs


class KeyUnreadable(SecretStoreError):
    """this version cannot read the {kind} key"""

    code = "key_unreadable"


class KeyChanged(SecretStoreError):
    """the key pair of {project}/{environment} is not the one remembered here, so nothing was sealed: {why}"""

    code = "key_changed"
    status = 409
    hint = (
        "ask whoever rotated or recreated it, compare fingerprints (sealrun key list -p {project}), "
        "and only then: sealrun key trust -p {project} -e {environment} FINGERPRINT"
    )


class KeyUnknown(SecretStoreError):
    """the key pair {fingerprint} of {project}/{environment} on {server} is not known here, so nothing was sealed"""

    code = "key_unknown"
    status = 409
    hint = (
        "compare that fingerprint with a colleague's (sealrun key list -p {project}), then give the pin they tell you: "
        "--pin, SEALRUN_PIN, or [pins] in .sealrun.toml; on a terminal it is enough to say yes"
    )


class KnownKeysUnusable(SecretStoreError):
    """{path}, which remembers the key pairs of environments, cannot be used: {why}"""

    code = "known_keys_unusable"
    hint = "repair it, or move it away and compare the fingerprints in sealrun key list with your colleagues'"


class FingerprintWrong(SecretStoreError):
    """{project}/{environment} has the key pair {found}, not {given}"""

    code = "fingerprint_wrong"
    status = 409
    hint = "nothing was recorded; ask who told you that fingerprint, and compare: sealrun key list -p {project}"


class RotationOvertaken(SecretStoreError):
    """the key pair of {project}/{environment} was changed meanwhile by another rotation or a deletion"""

    code = "rotation_overtaken"
    status = 409
    hint = "this rotation had no effect; see: sealrun key list -p {project}"


# -- key services


class KeyServiceMissing(SecretStoreError):
    """the private key was wrapped by {recorded}, and SEALRUN_KEYS lists no such key service"""

    code = "key_service_missing"
    hint = "add that key service to SEALRUN_KEYS, after a comma"


class KeyFileMissing(SecretStoreError):
    """no key file at {path}"""

    code = "key_file_missing"
    hint = "restore your copy, or point SEALRUN_KEYS at it; secrets sealed under it cannot be opened without it"


class KeyFileUnusable(SecretStoreError):
    """the key file {path} is not safe to use: {why}"""

    code = "key_file_unusable"
    hint = "it must be a regular file of yours with mode 0600, in a folder only you can write to"


class PublicHalfOnly(SecretStoreError):
    """{path} is the public half of a local key: it wraps private keys, and unwraps none"""

    code = "public_half_only"
    hint = "this is done where the key file is: SEALRUN_KEYS=local:PATH with the path of the key file"


class KmsError(SecretStoreError):
    """AWS KMS cannot do this"""

    # AWS's error codes and request ids are quoted, its own words never.
    code = "kms_error"
    status = 502


class KmsCredentialsUnusable(KmsError):
    """no AWS credentials were found for {action} with the key {key}"""

    code = "kms_credentials_unusable"
    status = 500
    hint = "give the process a role, a profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class KmsAccessDenied(KmsError):
    """AWS denies {action} with the key {key} ({answer})"""

    code = "kms_access_denied"
    status = 500
    hint = "allow {action} in IAM and in the key's policy; docs/how-to/kms.md has both"


class KmsKeyUnusable(KmsError):
    """the KMS key {key} cannot be used for {action}"""

    code = "kms_key_unusable"
    status = 500


class KmsUnavailable(KmsError):
    """AWS KMS at {endpoint} was not reached for {action} with the key {key} in {seconds} seconds: {why}"""

    code = "kms_unavailable"
    status = 503
    hint = "check the network between this machine and {endpoint}"


def of_key_service(code: str) -> bool:
    """Whether a code is of a key service that this process has not, or is refused by: another process may open.

    What was altered opens nowhere, and is not among them.
    """
    own = LibraryMissing, KeyServiceMissing, KeyFileMissing, KeyFileUnusable, PublicHalfOnly, KmsError
    return any(code == kind.code for kind in own) or any(code == kind.code for kind in KmsError.__subclasses__())


# -- database


class DatabaseUnavailable(SecretStoreError):
    """the database {url} cannot be reached"""

    code = "database_unavailable"
    status = 503
    hint = "check SEALRUN_DATABASE_URL, and that the server runs and accepts this user"


class DatabaseUnwritable(DatabaseUnavailable):
    """the database {url} cannot be written: {why}"""

    code = "database_unwritable"
    status = 507
    hint = "make room on its disk, or make it writable again; nothing else is to be done"


class DatabaseForbids(SecretStoreError):
    """the database {url} does not let its user do this: {why}"""

    code = "database_forbids"
    status = 403
    hint = "sealrun migrate --grants gives each role what its part needs; the rest is for who owns the tables"


class SchemaMismatch(SecretStoreError):
    """the database {url} is at revision {found}, and this version needs {wanted}"""

    code = "schema_mismatch"
    status = 503
    hint = "sealrun migrate"


class RowUnreadable(SecretStoreError):
    """a row of the database holds an invalid time, which sealrun did not write"""

    code = "row_unreadable"
    hint = "restore the database from a backup, and ask who can write to it"
