"""What a command has from where it was started and cannot be given later: what a warm process must have the same of.

Its rights and confinement, its namespaces and cgroup, its interpreter. Where one differs, the command starts cold.
"""

import os
import sys
import zlib
from collections.abc import Callable, Mapping

FORMAT = "1"
"""Of what goes over the socket."""

_OF_STATUS = (
    b"Uid", b"Gid", b"Groups", b"CapInh", b"CapPrm", b"CapEff", b"CapBnd", b"CapAmb", b"NoNewPrivs", b"Seccomp",
    b"Seccomp_filters", b"Cpus_allowed", b"Mems_allowed",
)  # fmt: skip
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_OF_PROC = (
    "self/cgroup", "self/personality", "self/attr/current", "self/oom_score_adj", "self/loginuid", "self/sessionid",
    "sys/kernel/random/boot_id",
)  # fmt: skip

_HARMLESS = ("PYTHONPATH", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8", "PYTHONIOENCODING",
             "PYTHONSAFEPATH", "PYTHONUNBUFFERED", "PYTHONNOUSERSITE", "PYTHONSTARTUP")  # fmt: skip
_ODD = (
    # The interpreter, the linker and the libraries in C act on these when they start, ...
    "PYTHON", "_PYTHON", "LD_", "MALLOC_", "GLIBC_", "GCONV_PATH", "LOCPATH", "NLSPATH", "OPENSSL_",
    # ... and these packages when they are imported.
    "CELERY_", "C_", "DISABLE_TRACEBACKS", "OTEL_PYTHON_CONTEXT",
    "FORKED_BY_MULTIPROCESSING", "KOMBU_", "MP_LOG", "MP_MAIN_FILE", "NOSETPS", "PICKLE_PROTOCOL", "PSYCOPG_",
    "PYDANTIC_", "REMAP_SIGTERM", "TYPER_", "_TYPER_", "USE_FAST_LOCALS", "COVERAGE_",
)  # fmt: skip
"""Beginnings of variables that are read before a command could be given its own environment."""


def odd_variable(environ: Mapping[str, str]) -> str | None:
    """A variable that something has acted on by the time a warm process hears of it; None where there is none."""
    for name in environ:
        if name.startswith(_ODD) and name not in _HARMLESS:
            return name
    return None


def of_interpreter() -> list[bytes] | None:
    """What a command's interpreter is; None where it was started in a way that a warm one is not."""
    flags = sys.flags
    odd = (flags.optimize, flags.dev_mode, flags.inspect, flags.interactive, flags.debug, flags.verbose)
    odder = (flags.bytes_warning, flags.no_site, not flags.hash_randomization, sys.warnoptions)
    if (
        any((*odd, *odder))
        or sys._xoptions.keys() - _OPTIONS
        or sys.stdin is None
        or sys.stdout is None
        or sys.stderr is None
    ):
        return None
    if sys.getfilesystemencoding() != "utf-8" or sys.gettrace() or sys.getprofile():
        return None
    # The first of the path is the folder of the script, or the current one: nothing of ours is to be found there.
    first, *path = sys.path
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    if first != root and any(os.path.lexists(os.path.join(first, name)) for name in ("executor", "secretstore")):
        return None
    return [*map(os.fsencode, (FORMAT, root, sys.executable, sys.version, sys.prefix, *options(), *path))]


_OPTIONS = {"utf8", "pycache_prefix"}


def options() -> list[str]:
    """Those of this interpreter's options that another one is to be started with."""
    given = ["-I"]
    if sys.flags.utf8_mode:
        given += ["-X", "utf8"]
    if sys.flags.dont_write_bytecode:
        given.append("-B")
    if sys.pycache_prefix:
        given += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    return given


def of_process() -> list[bytes]:
    """Where and as whom this process runs, and what confines it.

    Raises:
        OSError: the kernel does not tell.
    """
    known = status()
    facts = [known.get(name, b"") for name in _OF_STATUS]
    for name in _NAMESPACES:
        facts.append(_told(os.readlink, f"/proc/self/ns/{name}"))
    facts += [_told(read, f"/proc/{name}") for name in _OF_PROC]
    root = os.stat("/")
    facts.append(b"%d %d %d" % (root.st_dev, root.st_ino, os.getpriority(os.PRIO_PROCESS, 0)))
    return facts


def name_of(facts: list[bytes]) -> str:
    """A short name for these circumstances. It is no proof: they are compared in full."""
    text = b"\0".join(facts)
    return f"{zlib.crc32(text):08x}{zlib.adler32(text):08x}"


def status() -> dict[bytes, bytes]:
    """What the kernel tells of this process, by name."""
    lines = (line.partition(b":") for line in read("/proc/self/status").splitlines())
    return {name: told.strip() for name, _, told in lines}


def read(path: str) -> bytes:
    """What a file of the kernel's says."""
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _told(ask: Callable[[str], str | bytes], path: str) -> bytes:
    """The same of what not every kernel has: nothing is an answer, too, as long as it is the same one."""
    try:
        return os.fsencode(ask(path))
    except OSError:
        return b""
