"""What goes on without end lets go first what is being started, and is never held for long."""

import threading
import time

from executor.worker.starts import Starts
from tests.processes import eventually


def test_it_waits_until_the_last_one_has_started() -> None:
    starts = Starts()
    waiting = threading.Thread(target=lambda: starts.let_go_first(60), daemon=True)
    with starts.one("first"), starts.one("second"):
        waiting.start()
        starts.over("first")
        eventually(lambda: starts._changed._waiters, 10, "it waits for the second")  # type: ignore[attr-defined]
        assert waiting.is_alive()
        starts.over("second")
        waiting.join(10)
        assert not waiting.is_alive()


def test_what_never_starts_holds_nobody_for_long() -> None:
    """Neither while it lasts, nor once its context has ended, however it did."""
    starts = Starts()
    try:
        with starts.one("stuck"):
            starts.let_go_first(0.01)
            raise OSError
    except OSError:
        before = time.monotonic()
        starts.let_go_first(60)
        assert time.monotonic() - before < 30


def test_with_nothing_to_start_nobody_waits() -> None:
    before = time.monotonic()
    Starts().let_go_first(60)
    assert time.monotonic() - before < 30
