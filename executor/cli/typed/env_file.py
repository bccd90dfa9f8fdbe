"""The file of `--env-file`: plain variables, by the grammar that `secret import` reads."""

from executor.cli.typed import pairs
from executor.errors import FileInvalid


def read_env_file(path: str) -> dict[str, str]:
    """Names and values, a later line over an earlier one; nothing is expanded.

    Raises:
        FileUnreadable: there is no such file.
        FileInvalid: lines of it are none; they are named by number, not quoted.
    """
    reading = pairs.parse(pairs.read_file(path), "env")
    if reading.problems:
        raise FileInvalid(
            "{path}, {problems}",
            path=path,
            problems=pairs.listed(reading.problems),
            hint="a line is KEY=VALUE, KEY='VALUE', KEY=\"VALUE\", or a comment after #",
        )
    return {pair.name: pair.value for pair in reading.pairs}
