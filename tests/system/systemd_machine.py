"""A machine whose process 1 is Debian's systemd, in namespaces of its own: what it does reaches nothing of this one.

Its root is an overlay of this machine's, so that all of it is there and nothing of it is changed; its cgroups are a
subtree of this machine's; its network is this machine's, where the servers are.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from uv import find_uv_bin

from tests.executor.cli.conftest import CHECKOUT, PATIENCE
from tests.processes import children, eventually

M = TypeVar("M", bound="Machine")

SYSTEMD = "/lib/systemd/systemd"
_APART = ["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--kill-child"]

# Arguments: an empty folder, the checkout, the packages beside it, the interpreter that both are for, and uv.
BOOT = r"""
set -eu
place=$1 checkout=$2 packages=$3 python=$4 uv=$5
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/root"
mount -t overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" overlay "$place/root"
root=$place/root

mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"          # the kernel's settings are this machine's: only to be read
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=1777 tmpfs "$root/var/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"

# Of all the units there are, the journal and what this test adds.
rm -rf "$root"/etc/systemd/system "$root"/lib/systemd/system-generators "$root"/lib/systemd/system/*.wants
mkdir -p "$root/etc/systemd/system" "$root/lib/systemd/system/sysinit.target.wants"
ln -s ../systemd-journald.service "$root/lib/systemd/system/sysinit.target.wants/"
: > "$root/etc/fstab"
ln -s /dev/null "$root/etc/systemd/system/systemd-journald-audit.socket"
ln -s /lib/systemd/system/basic.target "$root/etc/systemd/system/default.target"

# An installation as the page makes one: an environment in /opt, open to its user.
"$python" -m venv --without-pip "$root/opt/sealrun"
mkdir "$root/opt/sealrun/src" "$root/opt/sealrun/packages"
mount --bind "$checkout" "$root/opt/sealrun/src"
mount -o remount,bind,ro "$root/opt/sealrun/src"
mount --bind "$packages" "$root/opt/sealrun/packages"
mount -o remount,bind,ro "$root/opt/sealrun/packages"
printf '/opt/sealrun/src\n/opt/sealrun/packages\n' > "$(echo "$root"/opt/sealrun/lib/python3*/site-packages)/ours.pth"
printf '#!/opt/sealrun/bin/python\nfrom executor.cli.main import main\nmain()\n' > "$root/opt/sealrun/bin/sealrun"
cp "$uv" "$root/opt/sealrun/bin/uv"
chmod 755 "$root/opt/sealrun/bin/sealrun" "$root/opt/sealrun/bin/uv"
chroot "$root" useradd --system --home-dir /var/lib/sealrun --shell /usr/sbin/nologin sealrun

echo mill > "$root/etc/hostname"
mkdir "$root/old"
cd "$root"
pivot_root . old
umount -l /old
mount --make-rshared /                                  # among services; what brings them credentials relies on it
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --log-target=journal --show-status=no
"""


class Machine:
    """A machine that has booted."""

    def __init__(self, folder: Path, cgroup: Path) -> None:
        self.log = folder / "boot.log"
        self._cgroup = cgroup
        place = folder / "machine"
        place.mkdir()
        words = [
            str(place),
            str(CHECKOUT),
            sysconfig.get_path("purelib"),
            os.path.realpath(sys.executable),
            find_uv_bin(),
        ]
        join = f'echo $$ > {cgroup}/cgroup.procs && exec "$@"'
        with self.log.open("wb") as log:
            self._outside = subprocess.Popen(
                ["sh", "-c", join, "sh", *_APART, "bash", "-c", BOOT, "boot", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def one(self) -> int:
        """Its process 1, as it is called here; 0 where it is gone."""
        return next(iter(children(self._outside.pid)), 0)

    def run(self, *words: str, code: int | None = 0, stdin: str = "", **environ: str) -> str:
        """Execute a command in it, as root; what it wrote. `code` is what it must end with."""
        into = ["nsenter", "-t", str(self.one), "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--"]
        known = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **environ}
        ended = subprocess.run(
            [*into, "sh", "-c", 'cd /srv && exec "$@"', "sh", *words],
            env=known,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3 * PATIENCE,
        )
        assert code is None or ended.returncode == code, f"{words} ended with {ended.returncode}:\n{ended.stdout}"
        return ended.stdout

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file in it, with the folder above."""
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, stdin=text)

    def booted(self) -> bool:
        assert self._outside.poll() is None, self.log.read_text()
        if self.one == 0:
            return False
        return self.run("systemctl", "is-system-running", code=None).strip() in ("running", "degraded")

    def is_off(self) -> bool:
        return self._outside.poll() is not None

    def end(self) -> None:
        """Switch it off, however far it is; nothing of it stays."""
        if (one := self.one) and self._outside.poll() is None:
            os.kill(one, 9)  # and the kernel ends all that it has
        self._outside.wait(PATIENCE)
        folders = sorted((path for path in self._cgroup.rglob("*") if path.is_dir()), reverse=True)
        eventually(lambda: not (self._cgroup / "cgroup.procs").read_text(), PATIENCE, "its cgroup is empty")
        for folder in (*folders, self._cgroup):
            folder.rmdir()


@contextlib.contextmanager
def machine(kind: type[M]) -> Iterator[M]:
    """One of them; a test is skipped where there cannot be any."""
    if os.geteuid() != 0:
        pytest.skip("a machine with a systemd of its own needs root")
    if not os.path.exists(SYSTEMD):
        pytest.skip(f"there is no {SYSTEMD}")
    cgroups = _cgroup2()
    if cgroups is None or subprocess.run([*_APART, "true"], capture_output=True).returncode != 0:
        pytest.skip("a machine with a systemd of its own needs cgroup2 and the right to make namespaces")
    folder = Path(tempfile.mkdtemp(prefix="sealrun-m-", dir="/var/tmp"))
    cgroup = cgroups / folder.name
    cgroup.mkdir()
    try:
        made = kind(folder, cgroup)
        try:
            eventually(made.booted, PATIENCE, lambda: f"it boots: {made.log.read_text()}")
            yield made
        finally:
            made.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _cgroup2() -> Path | None:
    """Where this machine's cgroup2 is; beside those of version 1 it has no controllers, and needs none here."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split()[4])
    return None
