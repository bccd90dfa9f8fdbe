"""What is sent to the servers' sockets: too much, too slowly, to be read never, and what is no source of ours."""

import contextlib
import gzip
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.api import serving
from executor.api.middleware import bodies
from tests.effort import FULL
from tests.executor.api.pair import Pair
from tests.processes import eventually

pytestmark = pytest.mark.long

BUNDLES = "/api/v1/projects/shop/environments/default/bundles"


@contextlib.contextmanager
def connected(pair: Pair, to: int = 0) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", pair.ports[to]), timeout=90) as connection:
        yield connection


def head(pair: Pair, method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {pair.host}", *headers, "", ""]).encode()


def answered(connection: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            found += part
    return found


def status(connection: socket.socket) -> bytes:
    """The status of the answer; the connection may stay open behind it."""
    return connection.recv(12, socket.MSG_WAITALL).removeprefix(b"HTTP/1.1 ")


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_a_body_that_is_too_large_is_not_read(pair: Pair) -> None:
    """Not where it says its length, and no more than may be where it does not."""
    token = f"Authorization: Bearer {pair.token('admin')}"
    with connected(pair) as connection:
        connection.sendall(head(pair, "POST", "/api/v1/projects", token, f"Content-Length: {bodies.LARGEST + 1}"))
        assert status(connection) == b"413"
    with connected(pair, 1) as connection:
        connection.sendall(head(pair, "POST", "/api/v1/projects", token, "Transfer-Encoding: chunked"))
        part = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(bodies.LARGEST // 0x10000 + 2):
                connection.sendall(part)
        assert status(connection) == b"413"


def test_many_runs_at_once_are_read_from_who_may_have_any(pair: Pair) -> None:
    """Of who may only look a body is as small as anywhere else."""
    for role, told in (("viewer", b"413"), ("runner", b"422")):
        token = f"Authorization: Bearer {pair.token(role, 'shop')}"
        size = bodies.LARGEST + 1
        with connected(pair) as connection:
            connection.sendall(head(pair, "POST", "/api/v1/runs/batch", token, f"Content-Length: {size}"))
            with contextlib.suppress(ConnectionError):
                connection.sendall(b" " * size)
            assert status(connection) == told


def test_nobody_fills_the_server_without_a_credential(pair: Pair) -> None:
    """Who asks is known before anything of a body is read; what is open to all takes little of one."""
    with connected(pair) as connection:
        connection.sendall(
            head(pair, "PUT", f"{BUNDLES}/{'0' * 64}?size=9", "Content-Length: 9", "Expect: 100-continue")
        )
        assert status(connection) == b"401"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /api/v1/health HTTP/1.1\r\nHost: h\r\nHost: evil.example\r\n\r\n",
        b"GET /api/v1/health HTTP/1.1\r\n\r\n",
        b"GET /api/v1/health HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/v1/device HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 2\r\n\r\n{}",
        b"GET /api/v1/health HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /api/v1/health HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n",
        b"GET /api/v1/health\0 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_request_ends_the_connection(pair: Pair, sent: bytes) -> None:
    """Two hosts, two lengths, a header without end: nothing of it comes to the application."""
    with connected(pair) as connection:
        connection.sendall(sent.replace(b"Host: h\r\n", f"Host: {pair.host}\r\n".encode()))
        assert status(connection) in (b"400", b"421")


def test_a_header_does_not_reach_an_answer_or_the_log(pair: Pair) -> None:
    """A request's id that is no word is replaced; what a path says stands in no header."""
    for given in ("a", "x" * 65, "has blanks", "a%0d%0aset-cookie:b=c", 'a"b'):
        answer = pair.ask("GET", "/health", headers={"x-request-id": given})
        assert answer.headers["x-request-id"] != given and len(answer.headers["x-request-id"]) == 32
    for path in ("/%0d%0aset-cookie:%20a=b", "/log-in?return_to=/%0d%0aset-cookie:%20a=b", "/device%0a"):
        assert "set-cookie" not in pair.send("GET", path).headers
    assert "a=b" not in pair.said()


def test_a_credential_is_written_nowhere(pair: Pair) -> None:
    """Not in a header, an address, a form or a body, and not where it is refused."""
    token, shown = pair.token("admin", "shop"), "srn_p" + "Q" * 36
    pair.ask("GET", "/me", token)
    for path in (f"/tokens/{shown}", f"/projects/{shown}/secrets", f"/{shown}", f"/runs?project={shown}"):
        pair.ask("GET", path, token, params={"token": shown} if "?" not in path else None)
        pair.ask("DELETE", path, shown)
    pair.send("GET", f"/log-in?token={shown}", to=1)
    pair.ask("POST", "/log-in/code", json={"code": shown, "verifier": shown})
    assert pair.ask("GET", "/me", to=0, params={"token": token}).status_code == 401, "a token in an address is none"
    assert token not in pair.said() and shown not in pair.said()


HOSTILE = {
    "a path that leads out": [tarfile.TarInfo("../outside")],
    "a path from the root": [tarfile.TarInfo("/etc/cron.d/x")],
    "a folder above": [tarfile.TarInfo("a/../../outside")],
    "the same twice": [tarfile.TarInfo("x"), tarfile.TarInfo("x")],
    "a line's end in a path that leads out": [tarfile.TarInfo("a\nb/../..")],
}


def kinds() -> Iterator[tuple[str, list[tarfile.TarInfo]]]:
    """Members of an archive that no source of ours has."""
    for what, kind, goal in (
        ("a link that leads out", tarfile.SYMTYPE, "../../etc/passwd"),
        ("a link from the root", tarfile.SYMTYPE, "/etc/passwd"),
        ("a hard link", tarfile.LNKTYPE, "/etc/passwd"),
        ("a device", tarfile.CHRTYPE, ""),
        ("a disk", tarfile.BLKTYPE, ""),
        ("a pipe", tarfile.FIFOTYPE, ""),
        ("a sparse file", tarfile.GNUTYPE_SPARSE, ""),
    ):
        head = tarfile.TarInfo("x")
        head.type, head.linkname = kind, goal
        yield what, [head]
    through = tarfile.TarInfo("l")
    through.type, through.linkname = tarfile.SYMTYPE, "."
    yield "a member through a link", [through, tarfile.TarInfo("l/x")]


HOSTILE |= dict(kinds())


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused_whole(pair: Pair, what: str) -> None:
    """Before it is stored: its digest names nothing afterwards."""
    body, digest = pair.archive(heads=HOSTILE[what])
    path = f"{BUNDLES.removeprefix('/api/v1')}/{digest}"
    sent = pair.ask("PUT", path, pair.token("developer", "shop"), params={"size": len(body)}, content=body)
    assert (sent.status_code, sent.json()["code"]) == (422, "source_refused"), (what, sent.text)


def test_an_archive_is_what_is_said_of_it(pair: Pair) -> None:
    """No more bytes, no fewer, none packed that would be many, and none of another digest."""
    body, digest = pair.archive(("main.py", b"print(1)"))
    path, token = BUNDLES.removeprefix("/api/v1"), pair.token("developer", "shop")

    def send(name: str, size: int, content: bytes) -> int:
        return pair.ask("PUT", f"{path}/{name}", token, params={"size": size}, content=content).status_code

    bomb = gzip.compress(bytes(50 << 20))
    huge = tarfile.TarInfo("huge")
    huge.size = 1 << 40
    says = huge.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    assert send(digest, len(body) - 1, body) == send(digest, len(body) + 1, body) == 422
    assert send("0" * 64, len(body), body) == send(digest, len(bomb), bomb) == send(digest, len(says), says) == 422
    assert send(digest, 1 << 50, b"") == send(digest, 0, b"") == send("0" * 63, 1, b"") == send("A" * 64, 1, b"") == 422
    assert send("../" + digest, 1, b"") == 404
    assert send(digest, len(body), body) == 200


@pytest.mark.parametrize(
    "path",
    ["../report.csv", "%2e%2e/report.csv", "..%2freport.csv", "/etc/passwd", "%2fetc%2fpasswd", "report.csv%00",
     "./report.csv", "x/../report.csv"],
)  # fmt: skip
def test_a_file_is_named_as_it_was_left(pair: Pair, path: str) -> None:
    """By its very path and no other; nothing is looked up on the server's disk."""
    run, _ = pair.ran("shop", "default")
    token = pair.token("follower", "shop")
    good = pair.ask("GET", f"/runs/{run}/outputs/report.csv", token)
    assert good.content == b"a,b" and good.headers["content-disposition"].startswith("attachment;")
    assert good.headers["x-content-type-options"] == "nosniff"
    with connected(pair) as connection:  # a client of ours would tidy the path up
        asked = f"/api/v1/runs/{run}/outputs/{path}"
        connection.sendall(head(pair, "GET", asked, f"Authorization: Bearer {token}", "Connection: close"))
        told = answered(connection)
    assert told[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 422") and b"a,b" not in told and b"root:" not in told


def test_many_who_never_read_hold_nobody_up(pair: Pair) -> None:
    """Of a run's output no more is held for them than a few pieces, and others are answered meanwhile."""
    run, _ = pair.ran("shop", "default", *[bytes(200 << 10) for _ in range(20)], over=False)
    token = f"Authorization: Bearer {pair.token('follower', 'shop')}"
    pid = pair.processes[0].pid
    pair.ask("GET", "/health")
    before = resident(pid)
    with contextlib.ExitStack() as open_:
        never = [open_.enter_context(connected(pair)) for _ in range(100 if FULL else 8)]
        for one in never:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(head(pair, "GET", f"/api/v1/runs/{run}/events", token))
        for one in never:
            assert status(one) == b"200", "it has begun to tell"
        assert pair.ask("GET", "/me", pair.token("viewer", "shop")).status_code == 200
        assert resident(pid) - before < len(never) * (4 << 20), (
            "each may have some pieces in its buffers, not all twenty"
        )


@pytest.mark.long
@pytest.mark.parametrize("sent", [b"", b"GET /api/v1/health HTTP/1.1\r\n", b"\r\n"])
def test_a_head_that_drips_ends(pair: Pair, sent: bytes) -> None:
    """Of a first request, and of one behind an answer: a connection without a request is nobody's to hold."""
    with connected(pair) as connection:
        connection.sendall(sent)
        assert answered(connection)[9:12] in (b"", b"400"), "at once, where it can be no request"
    with connected(pair, 1) as connection:
        connection.sendall(head(pair, "GET", "/api/v1/health"))
        assert status(connection) == b"200"
        connection.sendall(sent)
        answered(connection)


@pytest.mark.long
def test_a_body_that_drips_ends(pair: Pair) -> None:
    """A byte now and then is not enough: on the whole it has to come."""
    token = f"Authorization: Bearer {pair.token('admin')}"
    with connected(pair) as connection:
        connection.sendall(head(pair, "POST", "/api/v1/projects", token, "Content-Length: 1000"))
        connection.settimeout(2)
        told = b""

        def dripped() -> bytes:
            nonlocal told
            with contextlib.suppress(TimeoutError):
                told += connection.recv(4096)
            if not told:
                connection.sendall(b" ")
            return told

        assert eventually(dripped, 3 * bodies.SECONDS, "the connection ends").startswith(b"HTTP/1.1 408")
    assert serving.SECONDS_OF_HEAD < bodies.SECONDS
