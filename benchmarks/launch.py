"""Becomes a Celery worker whose inside is measured: `python launch.py WHAT FOLDER -m celery …`.

WHAT are words joined by commas:

  cpu         account for each process that the zygote and its forks collect, see `accounts`
  statements  count what the worker asks its database, see `statements`
  calls       trace the system calls of all of it, see `calls`; alone
  ROLE        profile that process of a run, see `hot`; `naive` is the other worker
  faults      with a role: by pages instead of processor time

The product has no part in it: its functions are wrapped from here, in the worker and in the zygote that it starts.
"""

import os
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

_BEFORE = (
    "import sys; sys.path[:0] = [sys.argv[2]]; sys.path.append({here!r}); "
    "import launch; launch.zygote({what!r}, {folder!r}); "
)


def main() -> None:
    """In the worker."""
    what, folder = sys.argv[1].split(","), Path(sys.argv[2])
    if what == ["calls"]:
        import calls

        calls.become_traced(folder, sys.argv[3:])
    sys.path[0] = str(HERE.parent)
    if set(what) - {"naive"}:
        from executor.boundary import supervision

        code: str = supervision._CODE
        assert "zygote import serve" in code, "the zygote is started in another way now: see boundary/supervision.py"
        supervision._CODE = _BEFORE.format(here=str(HERE), what=sys.argv[1], folder=sys.argv[2]) + code
    sys.path.append(str(HERE))
    if "statements" in what:
        import statements

        statements.count(folder)
    if "worker" in what or "naive" in what:
        import hot

        hot.sample(folder)
    if sys.argv[3] != "-m":
        raise SystemExit(f"launch.py: not a module of Python: {sys.argv[3]}")
    module = sys.argv[4]
    del sys.argv[1:5]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def zygote(what: str, folder: str) -> None:
    """In the zygote, before it serves."""
    from executor.supervisor import zygote as module

    words = what.split(",")
    if "cpu" in words:
        import accounts

        accounts.accounting(Path(folder) / "deaths", module)
    for role in {"zygote", "supervisor", "opener", "box", "run"} & set(words):
        import hot

        hot.trace(role, "faults" if "faults" in words else "cpu", Path(folder) / "traced", module)


if __name__ == "__main__":
    main()
    os._exit(0)
