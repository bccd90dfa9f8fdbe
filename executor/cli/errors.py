"""What can go wrong at the command line itself; the docstring is the message."""

from executor.errors import ExecutorError


class CliError(ExecutorError):
    """the command cannot be carried out"""

    exit_code = 1


class Misuse(CliError):
    """{what}"""

    hint = "see: sealrun {command} --help"
    exit_code = 2


class ValueOnCommandLine(CliError):
    """a value is never taken from the command line, where other users and the shell's history see it"""

    hint = (
        'consider it seen and replace it, then pipe it in: printf %s "$VALUE" | sealrun secret set NAME, '
        "or give --from-file PATH"
    )
    exit_code = 2


class ValueFileUnreadable(CliError):
    """{path} cannot be read: {why}"""

    exit_code = 2


class NeedsYes(CliError):
    """{act}: this asks first, and there is no terminal to ask on"""

    hint = "add --yes"
    exit_code = 2


class NotDone(CliError):
    """nothing was done"""


class ProjectBusy(CliError):
    """project "{project}" has unfinished runs: {count}"""

    hint = "cancel them or wait: sealrun runs list -p {project}"


class EnvFileBroken(CliError):
    """{path}, line {line}: {why}"""

    hint = "a line is KEY=VALUE, KEY='VALUE', KEY=\"VALUE\", or a comment after #"
    exit_code = 2


class ProjectFileExists(CliError):
    """{path} exists already"""

    hint = "edit it, or remove it first"


class StandbyFailed(CliError):
    """the worker that was started for this run has ended with status {status}{said}"""

    hint = "its words are in {log}"
    exit_code = 125


class NoWorkerSeen(CliError):
    """no worker takes runs of this machine: {since}"""

    hint = "start one: sealrun worker"
    exit_code = 125


class DemoFailed(CliError):
    """the run of {target} did not end as it should: {why}"""

    hint = "see: sealrun runs show {run}; and: sealrun doctor"


class RunOutputsMissing(CliError):
    """run {run} left no files"""


class FolderUnwritable(CliError):
    """nothing can be written to {path}: {why}"""
