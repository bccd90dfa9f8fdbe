"""Writes docs/reference/openapi.json from the code; with --check it only says whether it is up to date."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

import generated_page

# The checkout's own, whatever is installed.
from executor.api.application import Origin, create_application

FILE = CHECKOUT / "docs" / "reference" / "openapi.json"


def description() -> dict[str, Any]:
    """The description as a server has it, without a deployment behind it."""
    nothing: Any = SimpleNamespace(db=None)
    return create_application(nothing, Origin("https://sealrun.example.com", frozenset())).openapi()


if __name__ == "__main__":
    text = json.dumps(description(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    sys.exit(generated_page.main(FILE, text))
