"""What this machine gives its runs of a sandbox, and the one command that raises it a rung."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox.host import GRANTED, Host
from executor.schemas.doctor import Finding

_WHAT = {
    "user": "user namespace",
    "mount": "mounts of its own",
    "pid": "process tree of its own",
    "ipc": "shared memory of its own",
    "uts": "host name of its own",
    "cgroup": "control groups of its own",
    "net": "network of its own, and so network none",
    "proc": "process list of its own",
    "pts": "terminals of its own",
    "overlay": "working folder that can be written",
    "idmap": "that working folder under lent user ids",
}
_DOCKER = "--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"


@dataclass(frozen=True)
class Machine:
    """What a person has set on this machine, read for advice alone: what it grants was tried."""

    root: Path = Path("/")
    environ: Mapping[str, str] | None = None
    as_root: bool = False

    @classmethod
    def here(cls) -> "Machine":
        """This one."""
        return cls(environ=os.environ, as_root=os.geteuid() == 0)

    def says(self, path: str) -> str:
        """The content of a file of the kernel's; empty where there is none."""
        try:
            return (self.root / path).read_text().strip()
        except OSError:
            return ""

    @property
    def container(self) -> str | None:
        """What made this container: kubernetes, docker or podman."""
        if "KUBERNETES_SERVICE_HOST" in (self.environ or {}):
            return "kubernetes"
        if (self.root / "run/.containerenv").exists():
            return "podman"
        return "docker" if (self.root / ".dockerenv").exists() else None


def isolation(host: Host, machine: Machine) -> Iterator[Finding]:
    """The rung, its parts, and what a run gets all the same."""
    detail = {"rung": host.rung, "landlock_abi": host.landlock_abi, "mounts": host.mounts, "parts": dict(host.parts)}
    mend = raising(host, machine)
    if host.rung == "process":
        text = "rung process: this run could read the key file, and whatever else the worker's user can read"
        yield Finding("isolation", "note", text, mend, detail)
    else:
        text = f"rung {host.rung}: runs cannot read SEALRUN_HOME, the key file, your home or other runs' places"
        if host.rung == "namespace":
            text += ", and see no process but their own"
        yield Finding("isolation", "note" if mend else "ok", text, mend, detail)
        yield Finding("open", "note", _open(host))
    if host.rung != "process":
        yield from _missing(host, machine)


def _open(host: Host) -> str:
    """What a run gets all the same."""
    reached = "a run reaches the network and this machine's servers"
    if host.rung == "landlock":
        reached += ", and sees the list of processes"
    return f"{reached}, unless its network is none" if "none" in host.networks else reached


def _missing(host: Host, machine: Machine) -> Iterator[Finding]:
    """The parts that are not there, by what a run lacks of them."""
    missing = {name: why for name, why in host.parts.items() if why != GRANTED and name != "box"}
    if missing and host.rung == "namespace":
        text = "; ".join(f"no {_WHAT.get(name, name)}: {why}" for name, why in missing.items())
        yield Finding("parts", "note", text, _of_proc(machine) if "proc" in missing else None, missing)
    elif missing:
        # One cause, mostly: it is told with what mends it.
        whys = dict.fromkeys(missing.values())
        text = f"no box of its own for each run: {', '.join(missing)}: {'; '.join(whys)}"
        yield Finding("parts", "note", text, detail=missing)


def raising(host: Host, machine: Machine) -> str | None:
    """The one thing to do that raises this machine a rung; None where it is at the highest, or nobody knows."""
    if host.rung == "namespace":
        return None
    if host.rung == "process" and machine.container is None:
        known = machine.says("sys/kernel/security/lsm")
        if known and "landlock" not in known.split(","):
            return f"add lsm=landlock,{known} to the kernel's command line, and boot"
        return "use a kernel with Landlock (5.13 or later, with landlock in its lsm= list)"
    return _of_container(machine) or _of_settings(machine) or _of_service(machine)


def _of_container(machine: Machine) -> str | None:
    if machine.container == "kubernetes":
        pod = "in the pod: hostUsers: false; in its container's securityContext: procMount: Unmasked, "
        return f"{pod}seccompProfile.type: Unconfined, allowPrivilegeEscalation: true"
    if machine.container is not None:
        more = " --cap-add SYS_ADMIN" if machine.as_root else ""
        return f"{machine.container} run {_DOCKER}{more} …"
    return None


def _of_settings(machine: Machine) -> str | None:
    if machine.says("proc/sys/user/max_user_namespaces") == "0":
        return "sudo sysctl -w user.max_user_namespaces=15000"
    if machine.says("proc/sys/kernel/unprivileged_userns_clone") == "0":
        return "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if not machine.as_root and machine.says("proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    return None


def _of_service(machine: Machine) -> str | None:
    if "INVOCATION_ID" in (machine.environ or {}):
        return "in the unit: RestrictNamespaces=no, and no SystemCallFilter= that refuses @mount"
    return None


def _of_proc(machine: Machine) -> str | None:
    """Where a container lays something over /proc, nobody in it may mount another."""
    if machine.container == "kubernetes":
        return "in the container's securityContext: procMount: Unmasked"
    if machine.container is not None:
        return f"{machine.container} run --security-opt systempaths=unconfined …"
    return None
