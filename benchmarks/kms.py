"""What AWS KMS adds to the opening of a run's secrets, beside a local key file, and what its template costs and saves.

    PYTHONPATH=. python benchmarks/kms.py [--rounds N] [--secrets N]

One zygote of each kind, asked in turn: for each opening the time from the sealed bundle's way to the opener until it
says that the values are handed over. KMS is moto's in a process of its own, over TLS and with the usual bundle of
certificates. Its own share is measured too, by a client that has a connection open already; AWS's will be another.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT))

from botocore.httpsession import get_cert_path  # the checkout's own, whatever is installed

from executor.boundary.supervision import Zygote
from executor.boundary.wire import Kind, send
from executor.sandbox import tree
from secretstore import sealing
from secretstore.aws_kms import Credentials
from secretstore.bundle import SealedBundle, SealedItem
from secretstore.key_files import create_local_key
from secretstore.key_service import KeyAccess, KeyPlace
from secretstore.keyring import generate_wrapped, wrapping
from tests import kms

_GATE = 0.01  # seconds that a worker takes from a ready supervisor to the committed gate
PLACE = KeyPlace("shop", "p1", "default", "e1")

SERVER = """
import ssl, sys, time
sys.path.insert(0, sys.argv[1])
import logging
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from tests import kms
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2] + ".crt", sys.argv[2])
with kms.moto_server() as moto, kms.kms_proxy(moto) as plain, kms.kms_proxy(moto, context) as over_tls:
    print(kms.make_key(moto), plain.url, over_tls.url, flush=True)
    for word in sys.stdin:
        over_tls.fail(word.strip())
"""


@dataclass(frozen=True)
class Way:
    """One way to open: a zygote, what its openers are handed, and what they open."""

    title: str
    zygote: Zygote
    access: KeyAccess
    bundle: SealedBundle


def main() -> int:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--secrets", type=int, default=10)
    asked = parser.parse_args()
    with contextlib.ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        (arn, plain, over_tls), hang = ending.enter_context(server(folder))
        ways = list(made(folder, asked.secrets, arn, plain, over_tls, ending))
        seconds: dict[str, list[tuple[float, float]]] = {way.title: [] for way in ways}
        alone: list[float] = []
        warm = kms.client(plain)
        blob = wrapping(KeyAccess(kms.spec(arn, plain), credentials=credentials())).wrap(bytes(96), {})
        for turn in range(asked.rounds + 5):
            for way in ways:
                found = opening(way)
                if turn >= 5:
                    seconds[way.title].append(found)
            began = time.perf_counter()
            warm.decrypt(KeyId=arn, CiphertextBlob=blob)
            alone.append(time.perf_counter() - began)
        report(seconds, alone[5:], asked.secrets)
        memory(ways, hang)
    return 0


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[list[str], Callable[[], None]]]:
    """moto behind a plain door and one with TLS, in a process of its own; and a word that makes the next call hang."""
    key = folder / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    made += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*made, "-keyout", key, "-out", f"{key}.crt"], check=True, capture_output=True)
    bundle = Path(get_cert_path(True)).read_text() + Path(f"{key}.crt").read_text()
    (folder / "bundle.pem").write_text(bundle)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(CHECKOUT), str(key)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdin is not None
    try:
        for line in process.stdout:
            if line.startswith("arn:"):
                yield line.split(), lambda: print("hang", file=process.stdin, flush=True)
                break
    finally:
        process.stdin.close()
        process.wait()


def credentials() -> Credentials:
    return Credentials(kms.ACCESS_KEY, kms.SECRET_KEY, kms.TOKEN)


def made(
    folder: Path, secrets: int, arn: str, plain: str, over_tls: str, ending: contextlib.ExitStack
) -> Iterator[Way]:
    """The ways that are compared, each with a zygote of its own."""
    key_file = folder / "keys" / "local.key"
    create_local_key(key_file)
    way_there = {"ca_bundle": str(folder / "bundle.pem")}
    local = KeyAccess(f"local:{key_file}")
    bare = KeyAccess(kms.spec(arn, plain), credentials=credentials())
    tls = KeyAccess(kms.spec(arn, over_tls), credentials=credentials(), network=way_there)
    for title, access, template in (
        ("local key file", local, False),
        ("KMS, template, no TLS", bare, True),
        ("KMS, template", tls, True),
        ("KMS, without a template", tls, False),
    ):
        zygote = Zygote(access if template else None)
        zygote.start()
        ending.callback(zygote.stop)
        yield Way(title, zygote, access, sealed(access, secrets))


def sealed(access: KeyAccess, count: int) -> SealedBundle:
    """Some secrets of 40 bytes, sealed to a key pair that is wrapped in this way."""
    pair = generate_wrapped(wrapping(access), PLACE, 1)
    public = sealing.PublicKey.from_bytes(pair.public_key)
    items = []
    for number in range(count):
        name = f"NAME_{number}"
        binding = sealing.Binding("p1", "e1", f"s{number}", name, 1)
        items.append(SealedItem(f"s{number}", name, 1, sealing.seal(public, 1, b"x" * 40, binding)))
    return SealedBundle(
        "shop", "p1", "default", "e1", 1, pair.fingerprint, pair.key_service, pair.wrapped, tuple(items)
    )


def opening(way: Way) -> tuple[float, float]:
    """Seconds until a pair is there, and from the bundle to the word that all is handed over."""
    asked = time.perf_counter()
    with way.zygote.pair() as pair:
        frame = pair.frames.receive(30)
        assert frame is not None and frame.kind is Kind.READY
        ready = time.perf_counter()
        time.sleep(_GATE)
        began = time.perf_counter()
        send(pair.opener, Kind.BUNDLE, {"access": way.access.to_json(), "bundle": way.bundle.to_json()})
        answer = pair.answers.receive(30)
        ended = time.perf_counter()
        assert answer is not None and answer.kind is Kind.OPENED, answer and answer.payload
    return ready - asked, ended - began


def report(seconds: dict[str, list[tuple[float, float]]], alone: list[float], secrets: int) -> None:
    """Times, in milliseconds."""
    base = statistics.median(opened for _, opened in seconds["local key file"])
    print(f"\n| opening {secrets} secrets | pair ready, p50 | opened, p50 | p95 | added to local |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for title, found in seconds.items():
        ready, opened = [one for one, _ in found], sorted(one for _, one in found)
        middle, late = statistics.median(opened), opened[int(len(opened) * 0.95)]
        numbers = (statistics.median(ready), middle, late, middle - base)
        print(f"| {title} | " + " | ".join(f"{number * 1e3:.1f} ms" for number in numbers) + " |")
    print(f"\nKMS's own share, on a connection that is open: {statistics.median(alone) * 1e3:.1f} ms")


def memory(ways: list[Way], hang: Callable[[], None]) -> None:
    """Proportional and private set sizes, in MiB, of what waits and of an opener at work."""
    print("\n| process | PSS | its own |")
    print("| --- | ---: | ---: |")
    for way in ways:
        if way.title not in ("local key file", "KMS, template"):
            continue
        pid = way.zygote.pid or 0
        print(f"| zygote: {way.title} | {sizes(pid)} |")
        for child in tree.children(pid):
            print(f"| template: {way.title} | {sizes(child)} |")
        with way.zygote.pair() as pair:
            assert pair.frames.receive(30) is not None
            opener = opener_of(pid)
            print(f"| opener, waiting: {way.title} | {sizes(opener)} |")
            if way.access.credentials:
                hang()
                send(pair.opener, Kind.BUNDLE, {"access": way.access.to_json(), "bundle": way.bundle.to_json()})
                time.sleep(1)  # no limit here is so short: it is in its call, and stays there
                print(f"| opener, calling: {way.title} | {sizes(opener)} |")


def opener_of(zygote: int) -> int:
    """The opener that has just been forked."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        for pid in tree.children(zygote):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "sealrun-opener":
                    return pid
        time.sleep(0.01)
    raise TimeoutError


def sizes(pid: int) -> str:
    """The kernel's own sums."""
    found = dict.fromkeys(("Pss:", "Private_Dirty:", "Private_Clean:"), 0)
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.split()[0] in found:
            found[line.split()[0]] += int(line.split()[1])
    own = found["Private_Dirty:"] + found["Private_Clean:"]
    return f"{found['Pss:'] / 1024:.1f} MiB | {own / 1024:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
