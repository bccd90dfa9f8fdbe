"""What the generators of pages share: to write a page, or to say whether it is up to date."""

import sys
from pathlib import Path


def main(page: Path, text: str) -> int:
    """Write the page; with --check compare it, and return 1 where it differs."""
    if sys.argv[1:] != ["--check"]:
        page.write_text(text, encoding="utf-8")
        return 0
    if page.exists() and page.read_text(encoding="utf-8") == text:
        return 0
    print(f"{page} is out of date; write it anew: scripts/docs", file=sys.stderr)
    return 1
