"""The same search finds canaries in copies of the product with one protection taken out, and planted ones everywhere.

The product itself has no switch for any of this: each test changes the files of a copy. Every day the masker and the
process boundary are taken out, and canaries planted; needles are taken out one kind at a time by `scripts/test --all`.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.leaks.canaries import Canaries
from tests.leaks.scene import Seen, observe

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the memory of hardened processes can be read by root alone")


def appended(file: str, code: str) -> Callable[[Path], None]:
    """A change that adds code to the end of a module, so that what it redefines is what the module uses."""

    def patch(tree: Path) -> None:
        with (tree / file).open("a") as module:
            module.write(f"\n\n{code}\n")

    return patch


def found(seen: Seen, *beginnings: str) -> set[tuple[str, str]]:
    return {(finding.canary, finding.form) for finding in seen.findings_in(*beginnings)}


@pytest.mark.long
def test_without_the_masker() -> None:
    """I5: with no needle registered, canaries stand in logs, results, problems, outputs, and the worker's memory."""
    seen = observe(appended("executor/masking/masker.py", "Masker.build = classmethod(lambda cls, *values: cls(()))"))
    everything = {("whole PLAIN", "raw"), ("member", "hex"), ("password", "raw"), ("line 1", "raw")}
    assert found(seen, "table executor_log_chunk") >= everything
    assert found(seen, "table executor_output_chunk") >= everything
    assert ("plain", "JSON") in found(seen, "table executor_result")
    assert found(seen, "table executor_metric") and found(seen, "view of a run that reports")
    assert found(seen, "view of a run that notes")
    assert (
        found(seen, "table executor_output") and found(seen, "sealrun.db") and found(seen, "view of a run that raises")
    )
    assert found(seen, "memory of the worker")
    # The process boundary still stands: nothing has reached what only holds ciphertext or nothing.
    assert not found(seen, "memory of the zygote", "memory of the supervisor", "memory of the other run", "keys")


REVEALING = """
from executor.settings import read_here
from secretstore.key_service import KeyAccess
from secretstore.reveal import reveal
from secretstore.unwrapping import unwrapping

def _revealing(*arguments, **options):
    bundle = _pass_gate(*arguments, **options)
    sealed = getattr(bundle, "bundle", bundle)
    _values.append(list(reveal(unwrapping(KeyAccess(read_here().store.keys), sealed.key_service), sealed)))
    return bundle

_values = []
_pass_gate, runs.pass_gate = runs.pass_gate, _revealing
"""


@pytest.mark.long
def test_without_the_process_boundary() -> None:
    """I1: where the worker opens the values itself, its memory shows them, though not a byte of output does."""
    seen = observe(appended("executor/worker/dispatch.py", REVEALING))
    for when in ("during", "after"):
        assert found(seen, f"memory of the worker, {when}") >= {
            (f"whole {name}", "raw") for name in ("PLAIN", "ACCOUNT", "DATABASE", "KEY")
        }
    assert {finding.place.split(",")[0] for finding in seen.findings} == {"memory of the worker"}


_WHOLE = (
    "def needles_for(value):\n"
    "    return {form: name for name, forms in encoded(value) for form in forms} | {value: AS_IT_IS}"
)
OF_CONNECTIONS = {("key of a source", "raw"), ("password", "raw")}


@pytest.mark.long
def test_without_derived_needles() -> None:
    """I5: where only whole values are masked, the member and single lines stand in the logs.

    What data sources are filled in with does not: each field of theirs is registered by itself.
    """
    seen = observe(appended("executor/masking/needles.py", _WHOLE))
    logged = found(seen, "table executor_log_chunk")
    assert logged >= {("member", "raw"), ("line 1", "raw"), ("line of a file", "raw")}
    assert ("whole PLAIN", "raw") not in logged
    assert logged.isdisjoint(OF_CONNECTIONS)


@pytest.mark.long
def test_without_the_needles_of_connections() -> None:
    """I5: where these are not registered either, a source's key and password stand there, too."""

    code = (
        "_derive = derive\n\ndef derive(*arguments):\n    derived = _derive(*arguments)\n"
        "    derived.needles.clear()\n    return derived"
    )

    def patch(tree: Path) -> None:
        appended("executor/masking/needles.py", _WHOLE)(tree)
        appended("executor/environment/connections.py", code)(tree)

    assert found(observe(patch), "table executor_log_chunk") >= OF_CONNECTIONS


@pytest.mark.long
def test_without_encoded_forms() -> None:
    """I5: where values are masked only as they stand, their encoded forms are found, each of the listed ones."""
    seen = observe(appended("executor/masking/needles.py", "def encoded(value):\n    return ()"))
    forms = {form for _, form in found(seen, "table executor_log_chunk")}
    assert {"hex", "HEX", "percent", "JSON", "repr", "repr of bytes", "shell"} <= forms
    assert {"percent twice", "HTML", "XML", "CSV", "SQL", "JSON of JSON"} <= forms
    assert len([form for form in forms if form.startswith("base64")]) == 6


_SENT = """
def masked(chunks, masker, looked):
    looked.given = True
    for data in chunks:
        looked.size += len(data)
        yield data
"""


@pytest.mark.long
def test_without_the_masking_of_files() -> None:
    """I5: where a file that was searched is sent as it is, canaries stand in its rows, in every form of texts."""
    seen = observe(appended("executor/supervisor/masked_text.py", _SENT))
    assert {form for _, form in found(seen, "table executor_output_chunk")} >= {"raw", "hex", "percent", "JSON"}
    assert not found(seen, "table executor_log_chunk", "table executor_masked")


@pytest.mark.long
def test_sees_a_canary_planted_in_each_process() -> None:
    """The proof that each process's memory is searched: a copy plants a canary in all of them, and all are named."""
    canaries = Canaries()
    # Shifted, so that the file itself does not hold what is looked for.
    shifted = bytes(byte ^ 1 for byte in canaries.plain.encode()).hex()
    plant = f"_planted = bytes(byte ^ 1 for byte in bytes.fromhex({shifted!r}))"

    def patch(tree: Path) -> None:
        for file in ("executor/worker/dispatch.py", "executor/supervisor/zygote.py"):
            appended(file, plant)(tree)
        # The zygote serves from its start: what is planted has to be there before.

    seen = observe(patch, canaries)
    places = {finding.place for finding in seen.findings if finding.canary == "plain"}
    # Beside those the first process of a box, a fork of its supervisor.
    assert {place for place in places if "beside the other run" not in place} == {
        "memory of the worker, during",
        "memory of the worker, after",
        "memory of the zygote, during",
        "memory of the zygote, after",
        "memory of the supervisor of another run, during",
    }
