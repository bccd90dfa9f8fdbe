"""What can go wrong inside the trust boundary, in sentences that name paths and ids and never a value."""

from typing import Any


class SupervisorError(Exception):
    """the supervisor could not do its work"""

    hint: str | None = None

    def __init__(self, **names: Any) -> None:
        self.names = names
        super().__init__((type(self).__doc__ or "").strip().format(**names))


class WorkspaceUnsafe(SupervisorError):
    """{path} is not a folder of this user alone, so no run may be given a place in it"""

    hint = "remove it, or point SEALRUN_WORKSPACES at a folder of your own"


class NoFreeUid(SupervisorError):
    """every user id from {first} to {last} is lent to a run"""

    hint = "lower the worker's -c, or widen SEALRUN_RUN_UIDS"


class SourceForbidden(SupervisorError):
    """the source root {path} lies in {folder}, which no run may read"""

    hint = "move the job into a folder of its own, outside of it"


class CannotBringIn(SupervisorError):
    """{path} cannot be read by the run's user {uid}, and this worker may not mount it into the run's view"""

    hint = (
        "make it readable (chmod o+rX on it and the folders above), move it to a folder that is, "
        "or start the worker as an ordinary user"
    )


class Unreadable(SupervisorError):
    """{path} cannot be read by the run's user {uid}"""

    hint = "make it readable for others (chmod o+rX), or start the worker as an ordinary user"


class StartFailed(SupervisorError):
    """the run's process {why}"""


class ProgramNotStarted(StartFailed):
    """the run {why}"""

    hint = "a command is a program on the run's PATH, or a path from the source root"


class EnvironmentTooLarge(SupervisorError):
    """{what} is larger than the kernel passes to a program: {size:,} bytes, at most {limit:,}"""

    hint = "put it into a file of the project, or split it"


class ConnectionNotGiven(SupervisorError):
    """the parameter {parameter} cannot be given: {why}"""


class NotAVariable(SupervisorError):
    """the secret {name} has a NUL byte, which no environment variable can hold"""

    hint = "set it with --as-file, and runs find it as a file"


class NameTaken(SupervisorError):
    """{name} is both a secret and a plain variable"""

    hint = "rename one of them, or leave the variable out"
