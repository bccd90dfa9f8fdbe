"""Every page's links lead to a file that is there, and to a title in it."""

import re
import subprocess

import pytest

from tests.executor.cli.conftest import CHECKOUT

PAGES = [
    name
    for name in subprocess.run(
        ["git", "-C", CHECKOUT, "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    if (CHECKOUT / name).exists()
]


def anchors(text: str) -> set[str]:
    """The names of a page's titles, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_somewhere(page: str) -> None:
    """Those into the checkout; others are not followed."""
    text = (CHECKOUT / page).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        goal = (CHECKOUT / page).parent / path if path else CHECKOUT / page
        assert goal.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(goal.read_text()), f"{target}: no such title"


def test_every_page_of_the_documentation_is_on_its_map() -> None:
    """docs/README.md names them all."""
    named = re.findall(r"\]\(([^)#]+\.md)\)", (CHECKOUT / "docs" / "README.md").read_text())
    there = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")} - {"README.md"}
    assert there == {name for name in named if not name.startswith("..")}
