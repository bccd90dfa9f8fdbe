"""The file of `--env-file`: plain variables, by the grammar that `secret import` reads."""

from collections.abc import Iterator

from executor.cli.typed import pairs
from executor.errors import FileInvalid, FileUnreadable
from executor.schemas.importing import Problem, Reading
from secretstore.errors import NameRefused
from secretstore.naming import check_submitted_name

_FORM = "a line is KEY=VALUE, KEY='VALUE', KEY=\"VALUE\", or a comment after #"


def read_env_file(path: str) -> dict[str, str]:
    """Names and values, a later line over an earlier one; nothing is expanded.

    Raises:
        FileUnreadable: there is no such file.
        FileInvalid: lines of it are none, or have a name that is refused; they are named by number, not quoted.
    """
    try:
        content = pairs.read_file(path)
    except FileUnreadable as error:
        raise FileUnreadable(
            "--env-file {said}", said=error.message, hint="name a file of KEY=VALUE lines, or leave --env-file out"
        ) from None
    reading = pairs.parse(content, "env")
    problems = (*reading.problems, *_refused(reading))
    if problems:
        raise FileInvalid(
            "{path}, {problems}",
            path=path,
            problems=pairs.listed(problems),
            hint=_FORM if reading.problems else "remove these lines, or name a file without them",
        )
    return {pair.name: pair.value for pair in reading.pairs}


def _refused(reading: Reading) -> Iterator[Problem]:
    for pair in reading.pairs:
        try:
            check_submitted_name(pair.name)
        except NameRefused as refused:
            yield Problem(pair.place, str(refused), pair.name, refused_name=True)
