"""Every error of the secret store. A class's docstring is its message; names and ids only, never a value."""

from functools import partial
from typing import Any, ClassVar


class SecretStoreError(Exception):
    """the secret store cannot do this"""

    mend: ClassVar[str | None] = None
    """What usually helps, a template like the docstring; the raiser may give a better `hint`."""

    def __init__(self, *, hint: str | None = None, **details: object) -> None:
        self.details = details
        # Under `python -OO` there are no docstrings: the class name is then all that can be said.
        self.message = (type(self).__doc__ or type(self).__name__).strip().format(**details)
        self.hint = hint or (self.mend.format(**details) if self.mend else None)
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross process boundaries whole: the default would call the class with the message alone."""
        return partial(type(self), hint=self.hint, **self.details), ()


# -- settings


class SettingsProblem(SecretStoreError):
    """the settings cannot be used:{listing}"""

    def __init__(self, problems: list[str]) -> None:
        self.problems = list(problems)
        super().__init__(listing="".join(f"\n  {problem}" for problem in problems))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class HomeUnusable(SecretStoreError):
    """SEALRUN_HOME is {path}, and that cannot be used: {why}"""

    mend = "set SEALRUN_HOME to a folder of your own"


# -- projects, environments, names


class UnknownProject(SecretStoreError):
    """no project "{project}" """

    mend = "create it: sealrun project create {project}"


class UnknownEnvironment(SecretStoreError):
    """no environment "{environment}" in project "{project}" """


class EnvironmentGone(SecretStoreError):
    """the environment with the id {environment_id} does not exist any more"""


class UnknownSecret(SecretStoreError):
    """no secret "{name}" in {project}/{environment}"""

    mend = "store it: sealrun secret set {name} -p {project} -e {environment}"


class RollbackRefused(SecretStoreError):
    """secret "{name}" of {project}/{environment} cannot be rolled back: {why}"""


class UnknownVariable(SecretStoreError):
    """no variable "{name}" in {project}/{environment}"""

    mend = "set it: sealrun variable set {name} -p {project} -e {environment}"


class AlreadyExists(SecretStoreError):
    """{what} "{name}" exists already"""


class NameRefused(SecretStoreError):
    """the name "{name}" is refused: {why}"""


class ValueRefused(SecretStoreError):
    """the value of "{name}" is refused: {why}"""


class ExpiryRefused(SecretStoreError):
    """the expiry of "{name}" is refused: {why}"""


# -- data sources and catalogs


class ConnectionRefused(SecretStoreError):
    """{label} is refused: {why}"""

    @property
    def missing(self) -> list[str]:
        """The fields that are necessary and were not given."""
        found = self.details.get("missing")
        return list(found) if isinstance(found, list) else []


class UnknownConnection(SecretStoreError):
    """no {role} "{name}" in {project}/{environment}"""

    mend = "create it: sealrun {role} create {name} -p {project} -e {environment} --kind KIND"


class NamedByConnections(SecretStoreError):
    """{what} of {project}/{environment} is named by {by}"""


# -- sealing


class ValueTooLong(SecretStoreError):
    """a value may have {limit} bytes at most"""


class DoesNotOpen(SecretStoreError):
    """the sealed value does not open"""


class SealBroken(SecretStoreError):
    """secret "{name}" of {project}/{environment} does not open: it was not sealed for this place"""

    mend = "it was altered, moved or restored; set it again: sealrun secret set {name} -p {project} -e {environment}"


class SealMissing(SecretStoreError):
    """secret "{name}" of {project}/{environment} has no value sealed under the current key pair"""

    mend = "set it again: sealrun secret set {name} -p {project} -e {environment}"


class BundleBroken(SecretStoreError):
    """a bundle of sealed values could not be read"""


# -- keys


class KeyUnreadable(SecretStoreError):
    """a {kind} key is not in a form this version reads"""


class KeyChanged(SecretStoreError):
    """the key pair of {project}/{environment} is not the one known here: {why}. Nothing was sealed"""

    mend = (
        "ask who rotated it or made it anew, compare fingerprints with theirs (sealrun key list -p {project}), "
        "and only then: sealrun key trust -p {project} -e {environment} FINGERPRINT"
    )


class KnownKeysUnusable(SecretStoreError):
    """{path}, which remembers the key pairs of environments, cannot be used: {why}"""

    mend = "mend it, or move it away and compare the fingerprints in sealrun key list with your colleagues'"


class FingerprintWrong(SecretStoreError):
    """{project}/{environment} has the key pair {found}, not {given}"""

    mend = "nothing was recorded; ask who told you that fingerprint, and compare: sealrun key list -p {project}"


class FingerprintTooShort(FingerprintWrong):
    """{given} is too short to tell key pairs apart, and nothing was recorded"""

    mend = "give the fingerprint you were told in full, or its first {least} digits or more"


class RotationOvertaken(SecretStoreError):
    """the key pair of {project}/{environment} was changed meanwhile, by another rotation or a deletion"""

    mend = "nothing of this rotation counts; see: sealrun key list -p {project}"


class KeyServiceUnknown(SecretStoreError):
    """SEALRUN_KEYS names no key service"""

    mend = "give local:PATH or aws-kms:KEY_ID_OR_ALIAS_OR_ARN"


class KeyServiceNotListed(SecretStoreError):
    """the private key was wrapped by {recorded}, and SEALRUN_KEYS lists no such key service"""

    mend = "add that key service to SEALRUN_KEYS, behind a comma"


class WrapBroken(SecretStoreError):
    """the wrapped private key does not unwrap: it was altered, or wrapped for another environment"""


class KeyFileMissing(SecretStoreError):
    """no key file at {path}"""

    mend = "put back your copy of it, or set SEALRUN_KEYS to where it is; secrets sealed under it need it"


class KeyFileExists(SecretStoreError):
    """there is a key file at {path} already, and it is never overwritten"""


class KeyFileUnsafe(SecretStoreError):
    """the key file {path} is not safe to use: {why}"""

    mend = "it must be a regular file of yours with mode 0600, in a folder only you can write to"


class KeyFileBroken(SecretStoreError):
    """{path} is not a sealrun key file"""

    mend = "put back your copy of it; a new key file cannot open what was sealed under the old one"


class KeyFileWrong(SecretStoreError):
    """the key file {path} is key {found}, and the private key was wrapped under key {wanted}"""

    mend = "set SEALRUN_KEYS to the file of key {wanted}"


# -- AWS KMS. What AWS says in words is never quoted, its error codes and request ids are.


class KmsError(SecretStoreError):
    """AWS KMS cannot do this"""


class KmsLibraryMissing(KmsError):
    """AWS KMS needs botocore, which is not installed"""

    mend = "pip install 'sealrun[aws]'"


class KmsCredentialsMissing(KmsError):
    """there are no AWS credentials for {action} with the key {key}"""

    mend = "give the process that asks a role, a profile or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class KmsCredentialsInvalid(KmsError):
    """AWS does not accept the credentials for {action} with the key {key} ({answer})"""

    mend = "check the access key, its secret and its session token; a clock that is wrong has the same effect"


class KmsCredentialsExpired(KmsError):
    """the AWS credentials for {action} with the key {key} have expired ({answer})"""

    mend = "renew them and start again what was given them: only a role or a profile is renewed by itself"


class KmsAccessDenied(KmsError):
    """AWS denies {action} with the key {key} ({answer})"""

    mend = "allow {action} in IAM and in the key's policy; docs/kms.md has both, with the conditions for one project"


class KmsKeyDisabled(KmsError):
    """the KMS key {key} is disabled, so that {action} is refused ({answer})"""

    mend = "enable it: aws kms enable-key --key-id KEY"


class KmsKeyUnusable(KmsError):
    """the KMS key {key} is pending deletion or in another state that rules out {action} ({answer})"""

    mend = "look at its state; aws kms cancel-key-deletion --key-id KEY while there is time, then enable it"


class KmsKeyNotFound(KmsError):
    """there is no KMS key {key} in {region}, so that {action} is refused ({answer})"""

    mend = "check SEALRUN_KEYS and its region; what a deleted key has wrapped cannot be opened by anybody"


class KmsKeyUnfit(KmsError):
    """the KMS key {key} is not one for {action} ({answer})"""

    mend = "use a symmetric key for encryption and decryption: aws kms create-key"


class KmsKeyIncorrect(KmsError):
    """the private key was wrapped under another KMS key than {key}, so that {action} is refused ({answer})"""

    mend = "add the key that it was wrapped under to SEALRUN_KEYS by its ARN, behind a comma"


class KmsThrottled(KmsError):
    """AWS throttled {action} with the key {key} for {seconds} seconds ({answer})"""

    mend = "raise the account's KMS request quota, start fewer runs at a time, or raise SEALRUN_KMS_TIMEOUT_SECONDS"


class KmsFailing(KmsError):
    """AWS KMS failed at {action} with the key {key} for {seconds} seconds ({answer})"""

    mend = "try again; AWS's health page says whether KMS is disturbed"


class KmsUnreachable(KmsError):
    """AWS KMS at {endpoint} was not reached for {action} with the key {key} in {seconds} seconds: {why}"""

    mend = "check the network between this machine and {endpoint}"


class KmsSilent(KmsError):
    """AWS KMS at {endpoint} gave no whole answer to {action} with the key {key} in {seconds} seconds"""

    mend = "check the network between this machine and {endpoint}, or raise SEALRUN_KMS_TIMEOUT_SECONDS"


class KmsUntrusted(KmsError):
    """AWS KMS at {endpoint} was not asked for {action} with the key {key}: its certificate was not accepted"""

    mend = "if a proxy of yours reads TLS, name its certificates in AWS_CA_BUNDLE"


class KmsAnswerUnreadable(KmsError):
    """what answered {action} with the key {key} at {endpoint} is no AWS KMS"""

    mend = "check endpoint_url in SEALRUN_KEYS, and which proxy stands before {endpoint}"


class KmsRefused(KmsError):
    """AWS KMS refused {action} with the key {key} ({answer})"""

    mend = "look the code up in the KMS API reference, and the request in CloudTrail"


class KmsCertificatesMissing(KmsError):
    """the certificates that AWS KMS is known by cannot be read from {path}"""

    mend = "point AWS_CA_BUNDLE at a file of certificates in PEM form, or unset it"


class KmsRegionsDiffer(KmsError):
    """KMS moves a wrapped key within one region, and {source} and {destination} are in two"""

    mend = "make a key pair under the other key instead: sealrun key rotate"


# -- audit


class ChainUnusable(SecretStoreError):
    """the audit chain of project id {project_id} takes no further event: its last one is none that sealrun wrote"""

    mend = "sealrun audit verify names it; ask who can write to the database"


# -- database


class DatabaseUnreachable(SecretStoreError):
    """the database {url} cannot be reached"""

    mend = "check SEALRUN_DATABASE_URL, and that its server runs and lets this user in"


class DatabaseBusy(SecretStoreError):
    """the database {url} stayed locked by another writer for {seconds} seconds"""

    mend = "look for a process that holds it open, such as a copy or a shell"


class RowUnreadable(SecretStoreError):
    """a row of the database has something that is no moment in the place of one: no sealrun wrote it"""

    mend = "restore the database from a backup, and ask who can write to it"


class DatabaseDriverMissing(SecretStoreError):
    """the driver for {dialect} is not installed"""

    mend = "pip install 'sealrun[postgres]'"


class DatabaseOutdated(SecretStoreError):
    """the database {url} is at revision {found}, and this version needs {wanted}"""

    mend = "sealrun migrate"


class DatabaseTooNew(SecretStoreError):
    """the database {url} is at revision {found}, and this version knows {wanted} at most"""

    mend = "install the newer version of sealrun that migrated it"
