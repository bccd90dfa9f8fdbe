"""No page and no hint proposes to install sealrun from a registry: there, the name may be anybody's."""

import re

import pytest

from tests.documents.test_passwords import SHIPPED
from tests.executor.cli.conftest import CHECKOUT

FROM_A_REGISTRY = re.compile(
    r"(?:pip3?|uv|poetry|pipx)\s+(?:install|add)\b[^\n`]*?[\s'\"]sealrun(?![\w/.-])|['\"`\s]sealrun\["
)


def test_the_check_knows_one_when_it_sees_it() -> None:
    """By its name or with an extra; a path in a folder of that name is none."""
    for line in (
        "pip install sealrun",
        "run: pip install 'sealrun[aws]'",
        "uv add sealrun",
        "needs `sealrun[metrics]`",
    ):
        assert FROM_A_REGISTRY.search(line), line
    for line in (
        "/opt/sealrun/bin/pip install '/path/to/checkout[aws]'",
        "uv pip install -e '.[aws]'",
        "pip install uv",
    ):
        assert not FROM_A_REGISTRY.search(line), line


@pytest.mark.parametrize(
    "name", [name for name in SHIPPED if name.endswith((".md", ".py")) and (CHECKOUT / name).exists()]
)
def test_nothing_proposes_the_name_in_a_registry(name: str) -> None:
    """Who takes the name there would have code in workers, beside secrets."""
    assert FROM_A_REGISTRY.findall((CHECKOUT / name).read_text()) == []
