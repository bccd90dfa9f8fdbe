"""Why something would be refused, as it is told: for programs and for people."""

from pydantic.dataclasses import dataclass

from executor.errors import error_of
from secretstore.errors import SealrunError


@dataclass(frozen=True)
class Refused:
    """Why the run would be refused, as a word for programs and as a sentence."""

    code: str
    sentence: str
    hint: str | None

    @classmethod
    def by(cls, error: SealrunError) -> "Refused":
        """An error, as a reason why a run would be refused."""
        return cls(error.code, error.message, error.hint)

    @property
    def error(self) -> SealrunError:
        """The error that it was."""
        return error_of(self.code, self.sentence, self.hint)
