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


class NothingShowsAValue(CliError):
    """there is no command that shows a secret's value: a run is given it, and nothing else"""

    hint = "names: sealrun secret list; what a run would be given: sealrun secret explain TARGET"
    exit_code = 2


class OptionsUnfit(CliError):
    """a {role} of kind {kind} has no {options}"""

    hint = "it has {fit}"
    exit_code = 2


class ConnectionFileBroken(CliError):
    """{path} is not in order: {why}"""

    hint = (
        'as JSON: {{"kind": "s3", "bucket": "NAME", "credentials": {{"$secret": "NAME"}}}}; '
        'in TOML: credentials = {{"$secret" = "NAME"}}'
    )
    exit_code = 2


class OneFileAtATime(CliError):
    """one file is imported at a time"""

    hint = "import them one after another; options may stand before or after the file"
    exit_code = 2


class NeedsYes(CliError):
    """{act}: this asks first, and there is no terminal to ask on"""

    hint = "add --yes"
    exit_code = 2


class ProjectBusy(CliError):
    """{what} has unfinished runs: {count}"""

    hint = "cancel them or wait: sealrun runs list -p {project}"


class QueueNeedsBroker(CliError):
    """the queue {queue} needs workers of its own, and with nothing configured there is one for all"""

    hint = "set SEALRUN_BROKER_URL and SEALRUN_DATABASE_URL, and start one with: sealrun worker -Q {queue}"
    exit_code = 2


class EnvFileBroken(CliError):
    """{path}, {problems}"""

    hint = "a line is KEY=VALUE, KEY='VALUE', KEY=\"VALUE\", or a comment after #"
    exit_code = 2


class ImportRefused(CliError):
    """{source} cannot be imported, and nothing was written:{listing}"""


class WouldBeRefused(CliError):
    """this run would be refused:{listing}"""


class ProjectFileExists(CliError):
    """{path} exists already"""

    hint = "edit it, or remove it first"


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
