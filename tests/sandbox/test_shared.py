"""What runs of one user share with their worker, in the kernel: one that takes all of it keeps nobody from starting."""

from collections.abc import Iterator

import pytest

from tests.rig import WEAKER, Rig, file, ordinary_account, rig

ON_THEIR_WAY = """
import os, socket, time
here, total, held = os.open("/dev/null", os.O_RDONLY), 0, []
try:
    while total < 1 << 20:
        held += socket.socketpair()
        held[-2].setblocking(False)
        try:
            while True:
                socket.send_fds(held[-2], [b"x"], [here] * 253)
                total += 253
        except BlockingIOError:
            pass
except OSError as refused:
    print(refused.errno, flush=True)
print("has", total, flush=True)
while not os.path.exists(os.environ["TMPDIR"] + "/go"):
    time.sleep(0.02)
"""
OPEN = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"


@pytest.fixture(params=[pytest.param(rung, marks=() if rung == "namespace" else pytest.mark.long) for rung in WEAKER])
def place(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A worker of an ordinary user."""
    with rig(account=ordinary_account()) as made:
        for name in ("shop", "evil"):
            made.project(name)
        worker = made.start_worker(launcher=WEAKER[request.param], slots=3)
        if made.rung(worker) != request.param:
            pytest.skip(f"the best rung here is {made.rung(worker)}")
        yield made


def test_descriptors_on_their_way(place: Rig) -> None:
    """I3: a run keeps as many on their way as it may; the worker can pass on its own, so the next run starts."""
    (worker,) = place.workers
    zygote = worker.zygote
    evil = place.submit(file(place.job(ON_THEIR_WAY)), project="evil")
    place.says(evil, "has")
    for _ in range(2):
        ended = place.python_run(OPEN)
        assert ended.how == ("succeeded", None, 0)
    assert not place.view(evil).over and worker.zygote == zygote
    place.let_go(evil)
    assert place.ended(evil).how == ("succeeded", None, 0)
    soft, hard = map(int, ended.stdout.split())
    assert soft <= hard
    assert "waits" not in worker.said()
