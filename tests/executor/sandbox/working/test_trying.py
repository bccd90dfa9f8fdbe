"""Whether a layer can be laid is tried in a folder of its own, of which nothing stays."""

import os
from pathlib import Path

from executor.sandbox.working import trying
from executor.worker import janitor


def test_nothing_stays_of_it(tmp_path: Path) -> None:
    """Whether the kernel grants it or not; a source that is none is refused."""
    root, source = tmp_path / "runs", tmp_path / "source"
    root.mkdir()
    source.mkdir()
    trying._tried(source, root)
    assert trying._tried(tmp_path / "none", root)
    assert os.listdir(root) == []


def test_what_a_killed_worker_tried_is_cleared_away(tmp_path: Path) -> None:
    """As its workspaces are: by whoever comes next."""
    pid = os.fork()
    if pid == 0:
        trying.subprocess.run = lambda *_, **__: os._exit(9)  # type: ignore[attr-defined]
        trying._tried(tmp_path, tmp_path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert len(os.listdir(tmp_path)) > 0
    janitor.clear_orphans(tmp_path)
    assert os.listdir(tmp_path) == []
