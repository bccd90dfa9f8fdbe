"""Where a run finds its code, by what the machine grants."""

from pathlib import Path

import pytest

from executor.sandbox.working import COPY, OVERLAY, READ_ONLY
from executor.worker.working import WorkingFolder, _name
from tests.rig import command, file, function

AT = WorkingFolder(Path("/srv/shop"), Path("/runs/r-1/work/shop"), COPY)


def test_paths_in_full_lead_to_the_copy() -> None:
    """Of a file and of a program; arguments are the run's own, and what lies elsewhere stays where it is."""
    assert AT.target({**file("a.py"), "typed": "/srv/shop/x/../a.py"})["typed"] == "/runs/r-1/work/shop/a.py"
    assert AT.target({**file("a.py"), "typed": "./a.py"})["typed"] == "./a.py"
    assert AT.target(command("/srv/shop/run.sh", "/srv/shop/x"))["argv"] == [
        "/runs/r-1/work/shop/run.sh",
        "/srv/shop/x",
    ]
    for words in (["/srv/shopping/run.sh"], ["/srv/shop/../run.sh"], ["run.sh"], ["./run.sh"]):
        assert AT.target(command(*words))["argv"] == words
    assert AT.target(command()) == command() and AT.target(function("a.py", "go")) == function("a.py", "go")
    there = WorkingFolder(AT.source, AT.source, OVERLAY)
    assert there.target(command("/srv/shop/run.sh")) == command("/srv/shop/run.sh")


def test_the_receipt_says_how_and_why() -> None:
    """In a word, or with the reason."""
    assert (AT.told, WorkingFolder(AT.source, AT.source, READ_ONLY, "it is large").told) == (
        "copy",
        "read-only: it is large",
    )


@pytest.mark.parametrize(
    ("root", "name"),
    [("/srv/shop", "shop"), ("/srv/shop/", "shop"), ("/", "source"), ("/a/..", "source"), ("/a/.", "source"),
     ("", "source"), ("/a/b\0c", "source"), (f"/a/{'x' * 256}", "source"), ("/a/\u00e4 b", "\u00e4 b")],
)  # fmt: skip
def test_a_copy_has_the_name_that_the_source_had(root: str, name: str) -> None:
    """A row may say anything; it stays one name."""
    assert _name(root) == name
