"""What `doctor` says of the sandbox: the rung, what is missing, and the one command that raises it."""

from pathlib import Path

import pytest

from executor.explain.isolation import Machine, isolation, raising
from executor.sandbox.host import Host

REFUSED = {"user": "operation not permitted", "mount": "operation not permitted", "box": "operation not permitted"}
WHOLE = {"user": "yes", "mount": "yes", "proc": "yes", "box": "yes"}
AT_LANDLOCK = Host(7, False, REFUSED)


def machine(root: Path, files: dict[str, str], *, as_root: bool = False, **environ: str) -> Machine:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Machine(root, environ, as_root)


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"},
         "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
        ({"proc/sys/kernel/unprivileged_userns_clone": "0\n"}, "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        ({"proc/sys/user/max_user_namespaces": "0\n"}, "sudo sysctl -w user.max_user_namespaces=15000"),
        ({".dockerenv": ""}, "docker run --security-opt seccomp=unconfined"),
        ({"run/.containerenv": ""}, "podman run --security-opt seccomp=unconfined"),
        ({}, None),
    ],
)  # fmt: skip
def test_the_command_that_raises_it(tmp_path: Path, files: dict[str, str], command: str | None) -> None:
    """One thing to do, for what it is that refuses namespaces; nothing where nobody knows."""
    found = raising(AT_LANDLOCK, machine(tmp_path, files))
    assert found == command if command is None or command.startswith("sudo") else str(found).startswith(command)


def test_kubernetes_and_systemd_have_their_own(tmp_path: Path) -> None:
    """A pod's fields, and a unit's."""
    pod = raising(AT_LANDLOCK, machine(tmp_path, {}, KUBERNETES_SERVICE_HOST="10.0.0.1"))
    assert pod is not None and "hostUsers: false" in pod and "procMount: Unmasked" in pod
    unit = raising(AT_LANDLOCK, machine(tmp_path, {}, INVOCATION_ID="1"))
    assert unit is not None and "RestrictNamespaces=no" in unit


def test_root_in_a_container_needs_a_right(tmp_path: Path) -> None:
    """Where the worker is root it makes no user namespace, and so the mounts take a capability."""
    found = raising(AT_LANDLOCK, machine(tmp_path, {".dockerenv": ""}, as_root=True))
    assert found is not None and "--cap-add SYS_ADMIN" in found


def test_a_kernel_without_landlock_in_its_list(tmp_path: Path) -> None:
    """The list as it is, with landlock before it."""
    found = raising(Host(0, False, REFUSED), machine(tmp_path, {"sys/kernel/security/lsm": "capability,yama,apparmor"}))
    assert found == "add lsm=landlock,capability,yama,apparmor to the kernel's command line, and boot"


def test_each_part_is_named_with_its_reason(tmp_path: Path) -> None:
    """A box without one part says which, why, and what a run lacks of it."""
    host = Host(7, True, WHOLE | {"proc": "operation not permitted"})
    found = {one.what: one for one in isolation(host, machine(tmp_path, {".dockerenv": ""}))}
    assert found["isolation"].status == "ok" and "rung namespace" in found["isolation"].text
    assert found["parts"].text == "no process list of its own: operation not permitted"
    assert found["parts"].mend == "docker run --security-opt systempaths=unconfined …"
    whole = [one.what for one in isolation(Host(7, True, WHOLE), machine(tmp_path, {}))]
    assert whole == ["isolation", "open"]


def test_below_it_says_what_stays_open(tmp_path: Path) -> None:
    """At rung landlock: the list of processes and the network, and the mend."""
    found = {one.what: one for one in isolation(AT_LANDLOCK, machine(tmp_path, {".dockerenv": ""}))}
    assert "list of processes" in found["open"].text
    assert found["isolation"].mend is not None
    assert found["parts"].text == "no box of its own for each run: user, mount: operation not permitted"
