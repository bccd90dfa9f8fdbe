"""Which reasons are tried again, and after how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import RequestUnclear
from executor.runs import retrying

REASONS = sorted(retrying.POLICIES)


def test_unasked_a_run_is_tried_again_where_its_program_ran_and_failed() -> None:
    """The documented list; what is over for good, was cancelled or succeeded is never among them."""
    again = {reason for reason in REASONS if retrying.retried(reason, None)}
    assert again == {"exit_code", "exception", "signal", "out_of_memory"}
    for never in ("cancelled", "no_capable_worker", None):
        assert not retrying.retried(never, None)
        assert not retrying.retried(never, ["cancelled", "no_capable_worker"])


@pytest.mark.parametrize("reason", REASONS)
def test_reasons_that_are_named_are_the_only_ones(reason: str) -> None:
    """Also over those that are meant where none is named."""
    assert retrying.retried(reason, [reason])
    assert not retrying.retried(reason, [other for other in REASONS if other != reason])
    assert not retrying.retried(reason, [])


@given(st.sampled_from(REASONS), st.integers(0, retrying.MOST))
def test_a_delay_is_at_most_doubled_each_time(reason: str, before: int) -> None:
    """Full jitter: anything from nothing to the base doubled for each retry before, and never more than the longest."""
    longest = min(retrying.POLICIES[reason].base * 2**before, retrying.LONGEST)
    assert 0 <= retrying.delay(reason, before) <= longest


def test_delays_of_runs_that_failed_together_are_apart() -> None:
    """They fill the whole range, from its beginning to its end."""
    drawn = sorted(retrying.delay("exit_code", 3) for _ in range(400))
    assert drawn[0] < 8 and drawn[-1] > 32 and len(set(drawn)) > 390


def test_what_cannot_be_meant_is_refused() -> None:
    """With the reasons there are."""
    retrying.check(0, None)
    retrying.check(9, REASONS)
    for wrong in ("cancelled", "lots"):
        with pytest.raises(RequestUnclear, match=f'"{wrong}"') as caught:
            retrying.check(1, ["lost", wrong])
        assert caught.value.hint is not None and "exit_code, exception, signal" in caught.value.hint
    for retries in (-1, 10):
        with pytest.raises(RequestUnclear, match="at most 9 times"):
            retrying.check(retries, None)
    with pytest.raises(RequestUnclear, match="the number of retries is 0"):
        retrying.check(0, ["lost"])
