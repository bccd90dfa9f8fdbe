"""How a run is told."""

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
