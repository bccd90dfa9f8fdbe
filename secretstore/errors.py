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


class UnknownVariable(SecretStoreError):
    """no variable "{name}" in {project}/{environment}"""

    mend = "set it: sealrun variable set {name} -p {project} -e {environment}"


class AlreadyExists(SecretStoreError):
    """{what} "{name}" exists already"""


class NameRefused(SecretStoreError):
    """the name "{name}" is refused: {why}"""


class ValueRefused(SecretStoreError):
    """the value of "{name}" is refused: {why}"""


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


class KeyServiceUnknown(SecretStoreError):
    """SEALRUN_KEYS names no key service"""

    mend = "give local:PATH, the path of a local key file"


class KeyServiceUnavailable(SecretStoreError):
    """the key service "{kind}" is not available in this version"""

    mend = "give local:PATH, the path of a local key file"


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


# -- database


class DatabaseUnreachable(SecretStoreError):
    """the database {url} cannot be reached"""

    mend = "check SEALRUN_DATABASE_URL, and that its server runs and lets this user in"


class DatabaseBusy(SecretStoreError):
    """the database {url} stayed locked by another writer for {seconds} seconds"""

    mend = "look for a process that holds it open, such as a copy or a shell"


class DatabaseDriverMissing(SecretStoreError):
    """the driver for {dialect} is not installed"""

    mend = "pip install 'sealrun[postgres]'"


class DatabaseOutdated(SecretStoreError):
    """the database {url} is at revision {found}, and this version needs {wanted}"""

    mend = "sealrun migrate"


class DatabaseTooNew(SecretStoreError):
    """the database {url} is at revision {found}, and this version knows {wanted} at most"""

    mend = "install the newer version of sealrun that migrated it"
