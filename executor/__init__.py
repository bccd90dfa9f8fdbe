"""Runs a project's code and gives each run its secrets for as long as it lasts.

`Client` is the Python API, `executor.errors` what it raises beside `secretstore.errors`. They are imported when they
are asked for: what runs inside the trust boundary imports this package, too, and must stay small.
"""

TYPE_CHECKING = False  # as typing's, which would have to be imported
if TYPE_CHECKING:
    from executor.client import Client, LogPiece, Run

__all__ = ["Client", "LogPiece", "Run"]


if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module("executor.client"), name)

    def __dir__():
        return [*globals(), *__all__]
