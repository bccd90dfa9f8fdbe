"""What a worker may say that it gives, by what its machine was found to grant."""

import pytest

from executor.sandbox.host import GRANTED, Host

BOX = {"box": GRANTED, "net": GRANTED}


@pytest.mark.parametrize(
    ("host", "rung", "none"),
    [
        (Host(7, True, BOX, "judged"), "namespace", True),
        (Host(7, True, {**BOX, "net": "operation not permitted"}, "judged"), "namespace", False),
        (Host(7, False, {}, "judged"), "landlock", True),
        (Host(7, False, {}, "refused"), "landlock", True),
        (Host(7, False, {}, "open"), "landlock", False),
        (Host(0, False, {}, "judged"), "process", False),
        (Host(0, True, {}, "open"), "process", False),
    ],
)
def test_a_network_is_taken_away_only_by_what_is_in_force(host: Host, rung: str, none: bool) -> None:
    """I9: a run without the network waits for a worker that can keep it from it."""
    assert (host.rung, "none" in host.networks) == (rung, none)
