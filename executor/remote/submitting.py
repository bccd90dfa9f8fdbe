"""Submitting to a server: files are read here, their source is sent whole, and the rest is looked up there."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import uuid4

from executor.api.routes import route_of
from executor.remote import routed
from executor.schemas.order import LookedUp, Order, Orders, Upload, Wanted
from executor.schemas.run_operations import Again, Submitted, ThatRun
from executor.schemas.run_request import RunRequest
from executor.source.packing import Packed
from executor.submission.files import Files
from executor.submission.ordering import Ordered, Stage, notes, of_request, told_in_order, with_source
from executor.submission.remembered import Batch, Remembered
from secretstore.errors import SealrunError
from secretstore.naming import check_submitted_name

if TYPE_CHECKING:
    from executor.remote.server import Server

_KNOWN = 3600.0
"""Seconds in which a source that this process has sent is not sent again: a server keeps it for a day at least."""
_PART = 1 << 16  # bytes


@dataclass(frozen=True)
class Prepared:
    """A run that is looked up, with its source sent, and not submitted yet."""

    order: Order | Again
    notes: tuple[str, ...] = ()

    def followed(self, followed: bool = True) -> "Prepared":
        """The same, for somebody who reads its output as it comes."""
        return replace(self, order=self.order.model_copy(update={"followed": followed}))


def prepare(server: "Server", asked: RunRequest) -> Prepared:
    """As `runs.prepare`."""
    return _prepared(server, asked, server.remembered, alone=True)


def prepare_all(server: "Server", asked: Sequence[RunRequest]) -> list[Prepared]:
    """As `runs.prepare_all`; what only the server can refuse, it refuses as they are submitted."""
    batch = Batch(server.remembered or Remembered())
    prepared = []
    for place, one in enumerate(asked):
        try:
            prepared.append(_prepared(server, one, batch, alone=False))
        except SealrunError as error:
            error.place(f"items[{place}]")
            raise
    return prepared


def prepare_again(server: "Server", asked: ThatRun) -> Prepared:
    """As `runs.prepare_again`; whether it can be tried anew the server says as it is submitted."""
    return Prepared(Again(run=asked.run, project=asked.project))


def accept(server: "Server", asked: Prepared) -> Submitted:
    """As `runs.accept`. A submission whose answer is lost on the way is sent again, and is the same."""
    name = "runs.retry" if isinstance(asked.order, Again) else "runs.submit"
    accepted: Submitted = routed.ask(server, name, asked.order, headers={routed.KEY: uuid4().hex})
    return accepted


def accept_all(server: "Server", asked: Sequence[Prepared]) -> list[Submitted]:
    """As `runs.accept_all`."""
    orders = [one.order for one in asked if isinstance(one.order, Order)]
    assert len(orders) == len(asked), "what is tried anew is submitted alone"
    if not orders:
        return []
    headers = {routed.KEY: uuid4().hex}
    accepted: list[Submitted] = routed.ask(server, "runs.submit_many", Orders(items=orders), headers=headers)
    return accepted


def uploading(request: RunRequest) -> RunRequest:
    """The same request, its source uploaded where nobody says otherwise: a server's workers see no files of ours."""
    return request if request.bundle is not None else request.model_copy(update={"bundle": True})


def _prepared(server: "Server", asked: RunRequest, remembered: Remembered | Batch | None, *, alone: bool) -> Prepared:
    for name in asked.variables:
        check_submitted_name(name)
    request = uploading(asked)
    files = Files(request, server.settings) if remembered is None else remembered.files(request, server.settings)
    made = of_request(server.settings, request, files)
    if alone or made.refusals:
        for refusal in told_in_order(made.refusals, _looked_up(server, made)):
            raise refusal
    assert made.order is not None, "without a refusal there is an order"
    digest = None if files.packed is None else _sent(server, made.order, files.packed)
    if remembered is not None:
        remembered.learn(request, files)
    return Prepared(with_source(made.order, files, digest), tuple(notes(files.upload)))


def _looked_up(server: "Server", made: Ordered) -> Iterator[tuple[Stage, SealrunError]]:
    found: LookedUp = routed.ask(server, "runs.look_up", Wanted(**dict(made.wanted)))
    for one in found.refusals:
        yield Stage(one.stage), one.refused.error


def _sent(server: "Server", order: Order, packed: Packed) -> str:
    """Send a source, unless this process has done so a moment ago; its digest."""
    key, now = (order.project, packed.digest), time.monotonic()
    if now - server.sent.get(key, -_KNOWN) >= _KNOWN:
        said = Upload(project=order.project, environment=order.environment, digest=packed.digest, size=packed.size)
        path, _ = routed.placed(route_of("runs.upload"), said)
        headers = {"content-type": "application/octet-stream", "content-length": str(packed.size)}
        sent = _Parts(packed.tar)
        server.request("PUT", path, query={"size": packed.size}, sent=sent, headers=headers, again=True)
        server.sent[key] = now
    return packed.digest


class _Parts:
    """An archive, a part at a time, and from the beginning each time that it is sent."""

    def __init__(self, tar: memoryview) -> None:
        self._tar = tar

    def __iter__(self) -> Iterator[bytes]:
        yield from (bytes(self._tar[at : at + _PART]) for at in range(0, len(self._tar), _PART))
