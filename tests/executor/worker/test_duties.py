"""What a worker does though nobody asks."""

import pytest

from executor.worker.duties import Duty, perform, where_allowed
from secretstore.errors import DatabaseForbids


def test_what_the_database_forbids_is_another_process_s_part(caplog: pytest.LogCaptureFixture) -> None:
    """It is tried once, silently: each further try would be an error in the database's own log."""
    tried: list[str] = []

    def forbidden() -> None:
        tried.append("forbidden")
        raise DatabaseForbids(url="postgresql://", why="permission denied for table executor_session")

    duties = [Duty("forget", where_allowed(forbidden), 0), Duty("look", where_allowed(lambda: tried.append("look")), 0)]
    perform(duties)
    perform(duties)
    assert tried == ["forbidden", "look", "look"] and not caplog.records
