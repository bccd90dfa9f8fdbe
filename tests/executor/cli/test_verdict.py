"""How a run is told."""

from executor.cli.shown import verdict


def test_a_problem_without_a_message_is_its_name_alone() -> None:
    """As Python words it; so are the causes."""
    causes = [{"relation": "cause", "type": "TimeoutError", "message": ""}]
    problem = {"type": "KeyboardInterrupt", "message": "", "causes": causes}
    assert list(verdict.problem_lines(problem)) == ["KeyboardInterrupt", "caused by TimeoutError"]
    causes[0]["message"] = "late"
    assert list(verdict.problem_lines(problem | {"message": "0"})) == [
        "KeyboardInterrupt: 0",
        "caused by TimeoutError: late",
    ]
