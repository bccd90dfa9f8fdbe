"""Write executor/schemas/run_keywords.py anew: the options of a run as keyword arguments, for type checkers.

A type checker cannot read them off the fields of RunRequest, where they are declared. A test compares.
"""

import sys
from inspect import formatannotation
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "executor/schemas/run_keywords.py"
sys.path.insert(0, str(ROOT))

from executor.schemas.run_request import options  # the checkout's own, whatever is installed

_HEAD = '''"""The options of a run as keyword arguments. Generated from RunRequest by scripts/run_keywords.py."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict


class RunKeywords(TypedDict, total=False):
    """What `Client.run` takes beside what is to run. None is as good as not given."""
'''


def text() -> str:
    """What the file should hold."""
    lines = [_HEAD]
    for name, (_, field) in options().items():
        kind = formatannotation(field.annotation)
        kind = kind.replace("collections.abc.", "").replace("typing.", "").replace("'", '"').removesuffix(" | None")
        kind = kind[len("Optional[") : -1] if kind.startswith("Optional[") else kind
        lines.append(f'    {name}: {kind} | None\n    """{field.description}"""\n')
    return "\n".join(lines)


if __name__ == "__main__":
    PLACE.write_text(text())
