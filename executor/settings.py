"""Settings of the executor beside those of the store; read once at the door into a frozen object."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from secretstore.settings import (
    STORE_SETTINGS,
    Setting,
    SettingsReading,
    StoreSettings,
    Unacceptable,
    absolute_path,
    parse_store_settings,
    whole_number,
)

BROKER_URL = Setting(
    "SEALRUN_BROKER_URL",
    "an embedded broker in $SEALRUN_HOME",
    "URL",
    "redis, rediss or amqp; the doorbell between submitters and workers, it carries run ids only",
    from_file=True,
)
PROJECT = Setting("SEALRUN_PROJECT", "none", "name", "the project where -p is not given")
ENVIRONMENT = Setting("SEALRUN_ENV", "default", "name", "the environment where -e is not given")
LEASE = Setting(
    "SEALRUN_LEASE_SECONDS",
    "30",
    "seconds",
    "how long a worker that hangs keeps its runs; renewed every third of it, and a run whose renewals stop is ended "
    "before it is over",
)
TERM_GRACE = Setting(
    "SEALRUN_TERM_GRACE_SECONDS", "10", "seconds", "from TERM to KILL when a run is cancelled or out of time"
)
LOG_LIMIT = Setting(
    "SEALRUN_LOG_LIMIT_MIB", "64", "MiB", "stdout and stderr kept per attempt; the rest is cut, and said"
)
RESULT_LIMIT = Setting("SEALRUN_RESULT_LIMIT_KIB", "1024", "KiB", "a function's result, or a problem, as JSON")
OUTPUT_LIMIT = Setting("SEALRUN_OUTPUT_LIMIT_MIB", "64", "MiB", "files left in SEALRUN_OUTPUT_DIR, together")
WORKSPACES = Setting(
    "SEALRUN_WORKSPACES",
    "sealrun-runs-UID-HASH in /var/tmp, else the temporary folder",
    "path",
    "the runs' private folders; not beneath SEALRUN_HOME, which no run may reach into",
)
RUN_UIDS = Setting(
    "SEALRUN_RUN_UIDS",
    "60706-61183",
    "user ids",
    "a worker that runs as root lends each run one of these; the default is used by neither Debian nor systemd",
)

EXECUTOR_SETTINGS = (
    BROKER_URL, PROJECT, ENVIRONMENT, LEASE, TERM_GRACE, LOG_LIMIT, RESULT_LIMIT, OUTPUT_LIMIT, WORKSPACES, RUN_UIDS,
)  # fmt: skip
ALL_SETTINGS = (*STORE_SETTINGS, *EXECUTOR_SETTINGS)


@dataclass(frozen=True)
class Settings:
    """Everything sealrun reads from its environment. Sizes in bytes, times in seconds."""

    store: StoreSettings
    broker_url: str | None = field(repr=False)
    project: str | None
    environment: str | None
    lease: int
    term_grace: int
    log_bytes: int
    result_bytes: int
    output_bytes: int
    workspaces: Path
    run_uids: range

    @property
    def embedded(self) -> bool:
        """Nothing is configured: one machine, its own broker and a SQLite file."""
        return self.broker_url is None and self.store.database_is_default


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read all settings.

    Raises:
        SettingsProblem: with every problem at once, raw values left out.
    """
    reading = SettingsReading(environ)
    store = parse_store_settings(reading)
    number = whole_number
    settings = Settings(
        store=store,
        broker_url=reading.value(BROKER_URL, _broker_url, None),
        project=reading.value(PROJECT, str, None),
        environment=reading.value(ENVIRONMENT, str, None),
        lease=reading.value(LEASE, number(3, 3600), 30),
        term_grace=reading.value(TERM_GRACE, number(0, 3600), 10),
        log_bytes=reading.value(LOG_LIMIT, number(1, 4096), 64) << 20,
        result_bytes=reading.value(RESULT_LIMIT, number(1, 32768), 1024) << 10,
        output_bytes=reading.value(OUTPUT_LIMIT, number(0, 4096), 64) << 20,
        workspaces=reading.value(WORKSPACES, absolute_path, _default_workspaces(store.home)),
        run_uids=reading.value(RUN_UIDS, _uids, range(60706, 61184)),
    )
    if settings.workspaces.resolve().is_relative_to(store.home.resolve()):
        reading.problems.append(f"{WORKSPACES.name} lies beneath SEALRUN_HOME, which no run may reach into")
    reading.finish()
    return settings


def read_here() -> Settings:
    """Read the settings of this process: for the doors alone."""
    return read_settings(os.environ)


def _broker_url(text: str) -> str:
    scheme, mark, _ = text.partition("://")
    if not mark or scheme not in ("redis", "rediss", "redis+socket", "amqp", "amqps", "pyamqp"):
        raise Unacceptable("is no URL of a broker sealrun knows: redis://…, rediss://…, amqp://…")
    return text


def _uids(text: str) -> range:
    first, dash, last = text.partition("-")
    if not all(end.isascii() and end.isdigit() and len(end) <= 10 for end in ([first, last] if dash else [first])):
        raise Unacceptable("is not a range of user ids, as in 60706-61183")
    low, high = int(first), int(last or first)
    if not 0 < low <= high < 2**31:
        raise Unacceptable("must begin above 0, root's id, and not end before it begins")
    return range(low, high + 1)


def _default_workspaces(home: Path) -> Path:
    # /var/tmp is a disk where /tmp may be memory; both are writable for everybody, so `prepare_root` checks the owner.
    # One folder per SEALRUN_HOME: a janitor clears what no worker of its own home holds.
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:8]
    parent = "/var/tmp" if os.access("/var/tmp", os.W_OK | os.X_OK) else tempfile.gettempdir()
    return Path(parent) / f"sealrun-runs-{os.geteuid()}-{name}"
