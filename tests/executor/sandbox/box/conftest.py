"""A box without a supervisor around it: what is run in one, as root's worker makes it and as an ordinary user's."""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from executor.sandbox import confinement
from executor.sandbox.box import init, parts
from executor.sandbox.confinement import View
from executor.sandbox.host import Host

USER = 60600
LENT = 61207
PRIVATE = ("home", "tmp", "output", "private")

Look = Callable[[], Any]


@dataclass
class Ended:
    """What a look around in a box gave, what it had to say where there was none, and how it ended."""

    said: Any
    trouble: str
    status: int | None
    box: int


@dataclass
class Boxes:
    """Makes boxes as root, which lends a user id, or as an ordinary user; in a fork, which gives root up for good."""

    uid: int
    place: Path
    granted: Sequence[str] = field(default_factory=list)

    def view(self, **more: Any) -> View:
        """What a run sees: its source and its private folders."""
        host = Host(0, False, dict.fromkeys([*self.granted, "box"], "yes"))
        values: dict[str, Any] = {
            "source": self.place / "source",
            "interpreter": [],
            "writable": [self.place / "workspace" / name for name in PRIVATE],
            "temporary": self.place / "workspace/tmp",
            "uid": LENT if self.uid == 0 else None,
            "forbidden": [],
        }
        return confinement.view(host, **(values | more))

    def inside(self, look: Look, view: View | None = None, **more: Any) -> Ended:
        """What `look` returns as the first process of a run in a box; it is JSON, or the name of what it raised."""
        return self.apart(lambda: self.made(look, view or self.view(**more)))

    def made(self, look: Look, view: View) -> Ended:
        """The same in the process that asks."""
        (trouble, trouble_write), (over, over_write), (answer, answer_write) = (os.pipe() for _ in range(3))

        def work(_: Mapping[str, Any], descriptors: Sequence[int]) -> NoReturn:
            try:
                said = look()
            except OSError as error:
                said = error.strerror
            os.write(descriptors[1], json.dumps(said).encode())
            os._exit(0)

        box = init.make(view.parts, init.forked(work))
        box.go(view, {}, [trouble_write, over_write, answer_write])
        for end in (trouble_write, over_write, answer_write):
            os.close(end)
        status = init.status_of(over)  # comes when the first process of the run is over
        os.kill(box.pid, signal.SIGKILL)
        with open(answer) as given, open(trouble) as words:
            said, why = given.read(), words.read()
        os.close(over)
        os.waitpid(box.pid, 0)
        return Ended(json.loads(said) if said else None, why, status, box.pid)

    def apart(self, act: Callable[[], Ended]) -> Ended:
        """Do it in a fork, as the user that it is about."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                if os.geteuid() != self.uid:
                    os.setgroups([])
                    os.setresgid(self.uid, self.uid, self.uid)
                    os.setresuid(self.uid, self.uid, self.uid)
                ended = act()
                os.write(write, json.dumps([ended.said, ended.trouble, ended.status, ended.box]).encode())
            except BaseException as error:  # noqa: BLE001  # told by the parent's assertion
                os.write(write, json.dumps([None, f"{type(error).__name__}: {error}", None, 0]).encode())
            finally:
                os._exit(0)
        os.close(write)
        with open(read) as answer:
            said = answer.read()
        os.waitpid(pid, 0)
        return Ended(*json.loads(said))


@pytest.fixture(params=["root", "user"])
def boxes(request: pytest.FixtureRequest) -> Iterator[Boxes]:
    """Both, where these tests have root's rights; else whoever runs them."""
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("needs root")
    uid = {"root": 0, "user": USER if os.geteuid() == 0 else os.geteuid()}[request.param]
    place = Path(tempfile.mkdtemp(prefix="sealrun-box-", dir="/var/tmp"))
    made = Boxes(uid, place)
    for name in ("source", "source/sub", "workspace", *(f"workspace/{name}" for name in PRIVATE)):
        (place / name).mkdir()
    (place / "source/file").write_text("content")
    for path in (place, *place.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        if uid:
            os.chown(path, uid, uid)
    if uid == 0:
        for name in PRIVATE:
            os.chown(place / "workspace" / name, LENT, LENT)
    found = {}

    def look() -> Ended:
        return Ended(parts.granted(), "", 0, 0)

    found = made.apart(look).said
    if found["box"] != "yes":
        pytest.skip(f"no box here: {found}")
    made.granted = [name for name, said in found.items() if said == "yes" and name != "box"]
    try:
        yield made
    finally:
        shutil.rmtree(place, ignore_errors=True)


def without(boxes: Boxes, part: str) -> Boxes:
    """A machine that lacks a part."""
    return replace(boxes, granted=[name for name in boxes.granted if name != part])
