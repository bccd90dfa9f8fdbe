"""What goes into deleting what runs left, and what comes out."""

from pydantic import Field

from executor.schemas.places import Input, Output

_CENTURY = 100 * 366 * 86_400  # seconds


class OldRuns(Input):
    """Runs that have been over for so many seconds, of a project, else of all; without those that failed, if asked."""

    older_than: float = Field(ge=0, le=_CENTURY)
    keep_failed: bool = False
    project: str | None = None


class NamedRuns(Input):
    """Runs by their ids or the beginnings of them; of a project, where one is named."""

    runs: tuple[str, ...]
    project: str | None = None


class Prunable(Output):
    """Of how many runs there is something to delete, and how many bytes of output and files that is."""

    runs: int
    output_bytes: int
    file_bytes: int


class Pruned(Output):
    """Of how many runs what they left is deleted, and how many bytes the database gave back to the disk for it.

    `already` are those that were named and had nothing left; `bundles` is how many sources went that no other run has.
    """

    runs: int
    bundles: int
    given_back: int
    already: tuple[str, ...] = ()
