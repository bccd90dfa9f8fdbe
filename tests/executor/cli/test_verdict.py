"""How a run is told."""

from types import SimpleNamespace

from executor.cli.shown import verdict
from executor.errors import Cause, Problem


def test_a_problem_without_a_message_is_its_name_alone() -> None:
    """As Python words it; so are the causes."""
    problem = Problem("KeyboardInterrupt", causes=(Cause("TimeoutError", relation="cause"),))
    assert list(verdict.problem_lines(problem)) == ["KeyboardInterrupt", "caused by TimeoutError"]
    problem = Problem("KeyboardInterrupt", "0", causes=(Cause("TimeoutError", "late", relation="cause"),))
    assert list(verdict.problem_lines(problem)) == [
        "KeyboardInterrupt: 0",
        "caused by TimeoutError: late",
    ]


def test_what_an_installer_said_is_not_said_again() -> None:
    """It went by as it came; what is ours, a hint, did not."""
    told = "it could not be built: error: no\n  cause: there is none\n  hint: ask for another"
    shown = "it could not be built: error: no\n  hint: ask for another"
    for reason, how in (("setup_failed", shown), ("exception", told)):
        view = SimpleNamespace(id="3f9a62c1-0", state="failed", reason=reason, message=told)
        assert verdict.sentence(view, followed=True) == f"run 3f9a62c1 failed: {how}"  # type: ignore[arg-type]
        assert verdict.sentence(view) == f"run 3f9a62c1 failed: {told}"  # type: ignore[arg-type]
