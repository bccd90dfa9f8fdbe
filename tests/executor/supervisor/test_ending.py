"""How the last of a run's processes are ended, whatever else the supervisor has under way."""

import os

import pytest

from tests.executor.sandbox.test_tree import TREES, mark, open_interpreter, reaper, survivors

__all__ = ["mark"]

BESIDE_A_SCANNER = """
import threading
from executor.masking import scanner
from executor.supervisor import ending

listed, forked, end_tree, fork = threading.Event(), [], tree.end_tree, os.fork

def lent():
    uid = int(sys.argv[3])
    return run(sys.argv[2], user=uid, group=uid, cwd="/", executable=sys.argv[4])

def slow(heads):
    assert listed.wait(60), "what can be listed is killed meanwhile"
    lent()  # one that no listing has seen

def ended(**more):
    whole = end_tree(**more)
    listed.set()
    return whole

def noted():
    forked.append([thread.name for thread in threading.enumerate()])
    return fork()

lent()
scanner.scanner, tree.end_tree, os.fork = slow, ended, noted
compilation = scanner.Compilation([b"8 bytes."])
print(len(scanner.compiling()), ending.end_tree(int(sys.argv[3]), {}), compilation.over, scanner.compiling(), forked)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends user ids")
def test_no_process_is_forked_beside_a_thread_that_compiles(mark: str) -> None:
    """I8: the fork that ends a user's processes comes when the thread is over, and nobody is left alive for it."""
    ended = reaper(BESIDE_A_SCANNER, mark, TREES["a session of its own"], "60617", open_interpreter())
    assert (ended.stdout, ended.stderr) == ("1 True True [] [['MainThread']]\n", "")
    assert survivors(mark) == []
