"""The executor's settings, besides the store's; read once at the door into a frozen object."""

import hashlib
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from executor import setting_texts
from executor.boundary.plans import Signer
from executor.sandbox.folders import OpenFolder, why_not
from secretstore.pin import GivenPin
from secretstore.settings import (
    STORE_SETTINGS,
    Setting,
    SettingsReading,
    StoreSettings,
    absolute_path,
    length_of_time,
    parse_store_settings,
    printable_name,
    whole_number,
)

_FOLDERS = ("runs", "cache")

QUEUE = "sealrun"
"""The default queue of runs and workers."""

BROKER_URL = Setting(
    "SEALRUN_BROKER_URL",
    "an embedded broker in $SEALRUN_HOME",
    "URL",
    "redis, rediss or amqp; the doorbell between submitters and workers, which carries only run ids. Special "
    "characters of a password are percent-encoded: `/` is `%2F`, `@` is `%40`",
    from_file=True,
)
PROJECT = Setting("SEALRUN_PROJECT", "none", "name", "the project if -p is not given")
ENVIRONMENT = Setting("SEALRUN_ENV", "default", "name", "the environment if -e is not given")
PIN = Setting(
    "SEALRUN_PIN",
    "none",
    "list of [ENV=]PIN",
    "key pairs that secrets may be sealed to, as `key list --json` tells them, with commas between; one without `ENV=` "
    "is for every environment. Where nobody can be asked, the first use of a key pair over a network needs one",
)
SERVER = Setting(
    "SEALRUN_SERVER",
    "none",
    "URL",
    "the server that commands and `Client` speak to instead of a database, as in `https://sealrun.example.com`; http "
    "is taken for this machine alone. `sealrun --server URL` says it for one command",
)
TOKEN = Setting(
    "SEALRUN_TOKEN",
    "that of `sealrun login`",
    "token",
    "the API token for SEALRUN_SERVER; it is sent to no other server",
    from_file=True,
)
HOST = Setting(
    "SEALRUN_HOST",
    "this machine's host name",
    "name",
    "the name of this machine, or of a group of machines with the same files at the same paths; a run whose source is "
    "not uploaded goes to a worker of the same name. If this is set, source is uploaded only on request (--bundle)",
)
LEASE = Setting(
    "SEALRUN_LEASE_SECONDS",
    "30",
    "seconds",
    "how long a hanging worker keeps its runs; a worker renews its leases three times in this period, and a run whose "
    "renewals stop is ended before its lease expires",
)
TERM_GRACE = Setting(
    "SEALRUN_TERM_GRACE_SECONDS",
    "10",
    "seconds",
    "the time from TERM to KILL when a run is cancelled or times out; a cancelled run first gets INT and half of this "
    "time",
)
STOP_GRACE = Setting(
    "SEALRUN_STOP_GRACE_SECONDS",
    "as long as they take",
    "seconds",
    "how long a worker that is told to stop lets its runs go on; then it ends them, as a second signal makes it do at "
    "once. Whatever stops it should wait for this time, SEALRUN_TERM_GRACE_SECONDS and 30 seconds more",
)
METRICS_LISTEN = Setting(
    "SEALRUN_METRICS_LISTEN",
    "none",
    "address",
    "where a worker tells Prometheus what it counts, as in `127.0.0.1:9464`; needs the extra `metrics`. Whoever "
    "reaches it may read it, so an address that is not loopback needs a word more: `open:0.0.0.0:9464`",
)
RESULT_LIMIT = Setting("SEALRUN_RESULT_LIMIT_KIB", "1024", "KiB", "the size of a function's result as JSON")
OUTPUT_LIMIT = Setting("SEALRUN_OUTPUT_LIMIT_MIB", "64", "MiB", "the size of all files in SEALRUN_OUTPUT_DIR together")
SOURCE_LIMIT = Setting(
    "SEALRUN_SOURCE_LIMIT_MIB",
    "64",
    "MiB",
    "the size of an uploaded source root before compression; read by submitters and workers",
)
WORKSPACES = Setting(
    "SEALRUN_WORKSPACES",
    "sealrun-runs-UID-HASH in /var/tmp, else the temporary folder",
    "path",
    "the folder of the runs' private folders; not beneath SEALRUN_HOME, which no run may reach",
)
CACHE = Setting(
    "SEALRUN_CACHE",
    "sealrun-cache-UID-HASH in /var/tmp, else the temporary folder",
    "path",
    "the folder of a worker's copies of uploaded source and its Python environments, read-only to runs; not beneath "
    "SEALRUN_HOME, which no run may reach",
)
CACHE_LIMIT = Setting(
    "SEALRUN_CACHE_LIMIT_GIB",
    "10",
    "GiB",
    "the size of that cache; the least recently used entries are removed first, never those in use",
)
SERVES = Setting(
    "SEALRUN_SERVES",
    "*/*",
    "list of PROJECT/ENV",
    "the projects and environments whose runs a worker takes, as in `shop/staging, data/*`",
)
QUEUE_TIMEOUT = Setting(
    "SEALRUN_QUEUE_TIMEOUT_SECONDS",
    "3600",
    "seconds",
    "a run that no worker could take for this long fails as `no_capable_worker`; read by submitters if "
    "`--queue-timeout` is not given",
)
RUN_MEMORY = Setting(
    "SEALRUN_RUN_MEMORY",
    "no limit",
    "size",
    "the most memory that a run has whose project says nothing, as in `2G`. Without it a run has what the machine has: "
    "any usual number would end runs that have always gone through",
)
RUN_CPUS = Setting(
    "SEALRUN_RUN_CPUS",
    "no limit",
    "CPUs",
    "the most CPUs that a run has whose project says nothing, as in `1.5`; projects share those of a worker evenly "
    "where it has cgroups",
)
RUN_PIDS = Setting(
    "SEALRUN_RUN_PIDS",
    "4096",
    "processes",
    "the most processes and threads that a run has at once whose project says nothing: more than programs use, and "
    "fewer than a machine has",
)
RUN_DISK = Setting(
    "SEALRUN_RUN_DISK",
    "10G",
    "size",
    "the most that a run whose project says nothing has written in its own folders at once: one that fills a disk "
    "takes all others with it",
)
KEEP_RUNS = Setting(
    "SEALRUN_KEEP_RUNS_DAYS",
    "30",
    "days",
    "what a run left (output, results, files, metrics) is deleted this long after its end; how it ended and its "
    "receipts stay. 0 keeps all of it",
)
SETUP_TIMEOUT = Setting(
    "SEALRUN_SETUP_TIMEOUT_SECONDS", "900", "seconds", "the time-out for building a run's Python environment"
)
PACKAGE_INDEX = Setting(
    "SEALRUN_PACKAGE_INDEX",
    "the machine's own (uv.toml, pip.conf), else https://pypi.org/simple",
    "URL",
    "the package index for runs' Python environments; store its password, if any, as a secret of the environment and "
    "pass --setup-secret",
)
RUN_UIDS = Setting(
    "SEALRUN_RUN_UIDS",
    "60706-61183",
    "user ids",
    "a worker that runs as root lends each run one of these; neither Debian nor systemd uses the default range",
)

WARM = Setting(
    "SEALRUN_WARM_SECONDS",
    "600",
    "seconds",
    "how long a process that has everything imported waits for the next `sealrun run` or `sealrun runs` of this user; "
    "0 leaves none behind, and uses none. It holds no secret and no setting, see "
    "[the warm process](../internals/warm.md)",
)
READABLE = Setting(
    "SEALRUN_READABLE",
    "none",
    "paths, with : between",
    "folders of a worker's machine that runs may read; `shop=/data/shop` and `shop,data=/data` are for the runs of "
    "these projects alone",
)
WRITABLE = Setting(
    "SEALRUN_WRITABLE",
    "none",
    "paths, with : between",
    "folders of a worker's machine that runs of the named projects may change, as in `shop=/data/shop`; what one run "
    "leaves there the next one finds",
)

DOORS = Setting(
    "SEALRUN_DOORS",
    "any",
    "any, api",
    "`api`: a worker carries out what an API server of SEALRUN_SIGNERS has accepted and signed, and nothing else; who "
    "writes runs into the database has them refused. See [doors](../how-to/doors.md)",
)
SIGNERS = Setting(
    "SEALRUN_SIGNERS",
    "none",
    "list of keys",
    "the public halves of the signing keys of API servers, as `sealrun key create --signing` prints them, with commas "
    "between; several while one follows another. It belongs to the worker's own configuration",
)
SIGNING_KEY = Setting(
    "SEALRUN_SIGNING_KEY",
    "none",
    "path",
    "the file of an API server's signing key: the runs that it accepts are signed with it. No worker needs it",
)

EXECUTOR_SETTINGS = (
    BROKER_URL, SERVER, TOKEN, PROJECT, ENVIRONMENT, PIN, HOST, LEASE, TERM_GRACE, STOP_GRACE, RESULT_LIMIT,
    OUTPUT_LIMIT,
    SOURCE_LIMIT, WORKSPACES, CACHE, CACHE_LIMIT, SETUP_TIMEOUT, PACKAGE_INDEX, RUN_UIDS,
    RUN_MEMORY, RUN_CPUS, RUN_PIDS, RUN_DISK, SERVES, QUEUE_TIMEOUT, KEEP_RUNS, READABLE, WRITABLE, METRICS_LISTEN,
    DOORS, SIGNERS, SIGNING_KEY, WARM,
)  # fmt: skip
ALL_SETTINGS = (*STORE_SETTINGS, *EXECUTOR_SETTINGS)
_FROM_FILES = [one for one in ALL_SETTINGS if one.from_file]


@dataclass(frozen=True)
class Settings:
    """Everything sealrun reads from its environment. Sizes in bytes, times in seconds."""

    store: StoreSettings
    broker_url: str | None = field(repr=False)
    server: str | None
    token: str | None = field(repr=False)
    project: str | None
    environment: str | None
    pins: tuple[GivenPin, ...]
    host: str
    host_is_default: bool
    lease: int
    term_grace: int
    stop_grace: int | None
    """None for as long as the runs take."""
    result_bytes: int
    output_bytes: int
    source_bytes: int
    workspaces: Path
    cache: Path
    cache_bytes: int
    setup_timeout: int
    package_index: str | None
    run_uids: range
    serves: tuple[str, ...]
    queue_timeout: int
    keep_runs: int
    readable: tuple[OpenFolder, ...]
    writable: tuple[OpenFolder, ...]
    metrics_listen: tuple[str, int] | None
    warm: int
    run_memory: int | None
    run_cpus: float | None
    run_pids: int
    run_disk: int
    signers: tuple[Signer, ...]
    """Those whose plans count, where a worker takes nothing else; none where it takes whatever is in the database."""
    signing_key: Path | None
    closed: tuple[Path, ...]
    """What no run may reach, even beneath a folder that it may: sealrun's own, and files with passwords."""

    @property
    def int_grace(self) -> float:
        """The time from INT to TERM."""
        return self.term_grace / 2

    @property
    def embedded(self) -> bool:
        """Whether nothing is configured: one machine, its own broker and a SQLite file."""
        return self.broker_url is None and self.store.database_is_default

    def is_default_folder(self, folder: Path) -> bool:
        """Whether a folder is where nobody has chosen one, so that it is made and removed as it is needed."""
        return folder in [_default_folder(kind, self.store.home) for kind in _FOLDERS]

    @property
    def workers_see_files(self) -> bool:
        """Whether every worker that can take a run sees this machine's files."""
        on_this_machine = self.broker_url is None or self.store.database_url.startswith("sqlite:")
        return on_this_machine or not self.host_is_default


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read all settings.

    Raises:
        SettingsProblem: some are not valid; it lists every problem, without raw values.
    """
    reading = SettingsReading(environ)
    store = parse_store_settings(reading)
    number = whole_number
    signing_key = reading.value(SIGNING_KEY, absolute_path, None)
    workspaces = reading.value(WORKSPACES, absolute_path, _default_folder("runs", store.home))
    cache = reading.value(CACHE, absolute_path, _default_folder("cache", store.home))
    settings = Settings(
        store=store,
        broker_url=reading.value(BROKER_URL, setting_texts.broker_url, None),
        server=reading.value(SERVER, setting_texts.server, None),
        token=reading.value(TOKEN, setting_texts.token, None),
        project=reading.value(PROJECT, str, None),
        environment=reading.value(ENVIRONMENT, str, None),
        pins=reading.value(PIN, setting_texts.pins, ()),
        host=reading.value(HOST, printable_name, socket.gethostname()),
        host_is_default=HOST.name not in environ,
        lease=reading.value(LEASE, length_of_time(3, 3600), 30),
        term_grace=reading.value(TERM_GRACE, length_of_time(0, 3600), 10),
        stop_grace=reading.value(STOP_GRACE, length_of_time(0, 7 * 86400), None),
        result_bytes=reading.value(RESULT_LIMIT, number(1, 32768), 1024) << 10,
        output_bytes=reading.value(OUTPUT_LIMIT, number(0, 4096), 64) << 20,
        source_bytes=reading.value(SOURCE_LIMIT, number(1, 1024), 64) << 20,
        workspaces=workspaces,
        cache=cache,
        cache_bytes=reading.value(CACHE_LIMIT, number(1, 1 << 16), 10) << 30,
        setup_timeout=reading.value(SETUP_TIMEOUT, length_of_time(1, 86400), 900),
        package_index=reading.value(PACKAGE_INDEX, setting_texts.package_index, None),
        run_uids=reading.value(RUN_UIDS, setting_texts.uids, range(60706, 61184)),
        serves=reading.value(SERVES, setting_texts.places, ("*/*",)),
        queue_timeout=reading.value(QUEUE_TIMEOUT, length_of_time(1, 30 * 86400), 3600),
        keep_runs=reading.value(KEEP_RUNS, length_of_time(0, 36500, "d"), 30 * 86400),
        readable=reading.value(READABLE, setting_texts.open_folders, ()),
        writable=reading.value(WRITABLE, setting_texts.open_folders, ()),
        warm=reading.value(WARM, length_of_time(0, 86400), 600),
        run_memory=reading.value(RUN_MEMORY, setting_texts.size(16 << 20), None),
        run_cpus=reading.value(RUN_CPUS, setting_texts.cpus, None),
        run_pids=reading.value(RUN_PIDS, number(16, 1 << 22), 4096),
        run_disk=reading.value(RUN_DISK, setting_texts.size(1 << 20), 10 << 30),
        metrics_listen=reading.value(METRICS_LISTEN, setting_texts.listening, None),
        signers=_signers_that_count(reading),
        signing_key=signing_key,
        closed=tuple(_closed(store, environ, workspaces, cache, *([signing_key] if signing_key else []))),
    )
    reading.problems += _problems_of_folders(settings)
    for setting, folder in ((WORKSPACES, settings.workspaces), (CACHE, settings.cache)):
        if folder.resolve().is_relative_to(store.home.resolve()):
            reading.problems.append(f"{setting.name} lies beneath SEALRUN_HOME, which no run may reach")
    reading.finish()
    return settings


def read_here() -> Settings:
    """Read the settings of this process; only doors call this."""
    return read_settings(os.environ)


def _signers_that_count(reading: SettingsReading) -> tuple[Signer, ...]:
    problems = len(reading.problems)
    none: tuple[Signer, ...] = ()
    doors = reading.value(DOORS, setting_texts.doors, "any")
    signers = reading.value(SIGNERS, setting_texts.signers, none)
    if doors == "api" and not signers and len(reading.problems) == problems:
        reading.problems.append(f"{DOORS.name} is api, and {SIGNERS.name} names no server whose plans count")
    return signers if doors == "api" else ()


def _problems_of_folders(settings: Settings) -> Iterator[str]:
    for setting, folders in ((READABLE, settings.readable), (WRITABLE, settings.writable)):
        for number, folder in enumerate(folders, 1):
            if why := why_not(folder.path, settings.closed):
                yield f"{setting.name} cannot open its folder number {number} to runs: it {why}"
            elif setting is WRITABLE and not folder.projects:
                yield f"{setting.name} has to name who may change its folder number {number}, as in shop=/data/shop"


def _closed(store: StoreSettings, environ: Mapping[str, str], *folders: Path) -> Iterator[Path]:
    yield from (store.home, *folders, *store.key_files)
    if store.database_url.startswith("sqlite:///"):
        file = store.database_url.removeprefix("sqlite:///")
        yield from (Path(file), Path(f"{file}-wal"), Path(f"{file}-shm"))
    yield from (Path(environ[f"{one.name}_FILE"]) for one in _FROM_FILES if environ.get(f"{one.name}_FILE"))


def _default_folder(kind: str, home: Path) -> Path:
    # /var/tmp is on disk; /tmp may be memory. Everybody can write to both, so `prepare_root` checks the owner.
    # One folder per SEALRUN_HOME: a janitor removes what no worker of its home holds.
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:8]
    parent = "/var/tmp" if os.access("/var/tmp", os.W_OK | os.X_OK) else tempfile.gettempdir()
    return Path(parent) / f"sealrun-{kind}-{os.geteuid()}-{name}"
