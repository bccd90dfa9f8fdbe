"""What building a masker may take. No clock is read here: `benchmarks/masking.py` measures speed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# Peak memory is read in a process of its own: in this one, earlier tests have set it.
BUILD = """
import base64, json, random, sys
from executor.masking.masker import Masker

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024

rnd = random.Random(2)
letters = "abcdef XYZ/+=&'\\"\\\\019~#$%"
make = {
    "base64": lambda: base64.b64encode(rnd.randbytes(49152)),
    "text": lambda: "".join(rnd.choices(letters, k=65536)).encode(),
    "binary": lambda: rnd.randbytes(65536).translate(None, b"\\0"),
    "lines": lambda: b"\\n".join(base64.b64encode(rnd.randbytes(48)) for _ in range(1008)),
    "members": lambda: json.dumps([rnd.randbytes(6).hex() for _ in range(4096)]).encode(),
}[sys.argv[1]]
values = {f"S{number}": make() for number in range(10)}
assert all(len(value) > 64_000 for value in values.values())
before = peak()
masker = Masker.build(values)
assert masker.mask(b"<" + values["S9"] + b">") == b"<***>"
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("kind", ["base64", "text", "binary", "lines", "members"])
def test_ten_values_of_64_kib_take_under_64_mb(kind: str) -> None:
    """Patterns stay short and forms are bounded, whatever the values look like."""
    done = subprocess.run([sys.executable, "-c", BUILD, kind], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 64


def test_the_masker_imports_little() -> None:
    """It lives in a small process that is forked for each run, where every module costs time and memory."""
    script = (
        "import sys; import executor.masking.masker; "
        "print([name for name in sys.modules if name.split('.')[0] in "
        "('urllib', 'shlex', 'typing_extensions', 'sqlmodel', 'celery', 'asyncio', 'logging', 'hypothesis')])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
