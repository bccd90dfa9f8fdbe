"""The controls of the sandbox, each as the change of a copy of the product that takes it out.

The product has no switch for any of them. A change has to find what it changes, so that one that no longer does
anything fails.
"""

import re
from collections.abc import Callable
from pathlib import Path

Patch = Callable[[Path], None]

CONFINEMENT = "executor/sandbox/confinement.py"
KERNEL = "executor/sandbox/kernel.py"
CHILD = "executor/supervisor/child.py"
REPORT = "executor/supervisor/report.py"
INIT = "executor/sandbox/box/init.py"
ROOT = "executor/sandbox/box/root.py"
RIGHTS = "executor/sandbox/box/rights.py"
SOCKETS = "executor/sandbox/box/sockets.py"

CONTAINER = "the container's refusal of namespaces and mounts"
"""Of the machine's at the rungs below `namespace`, and the one control that is not ours."""

_INHERITED = r"""        import stat
        for number in range(3, 100):
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.fstat(number).st_mode):
                    os.dup2(number, 100 + number, inheritable=True)
\g<0>"""

_SOCKETS = r"""def _sockets() -> list[int]:
    import stat
    found = []
    for number in range(3, 100):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                found.append(number)
    return found


\g<0>"""


def edited(file: str, found: str, instead: str) -> Patch:
    """A change of all places in one file that look so, of which there has to be one."""

    def patch(tree: Path) -> None:
        path = tree / file
        text, count = re.subn(found, instead, path.read_text(), flags=re.MULTILINE)
        assert count, f"{file} has no {found}"
        path.write_text(text)

    return patch


def _nothing(file: str, function: str, returned: str = "") -> Patch:
    """A function that does nothing, and returns this."""
    return edited(file, rf"^(def {function}\([^)]*(?:\([^)]*\)[^)]*)*\)[^\n]*:)$", rf"\1\n    return {returned}")


_SPAWNED = """        import stat
        for fd in range(3, 100):
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.fstat(fd).st_mode):
                    os.dup2(fd, fd + 100)"""

_NO_KILLS_OF_ALL = edited(INIT, r"os\.kill\(-1, [\w.]+\)", "None")
"""Without process ids of its own, all that a box's first process may signal is all of this machine."""

CONTROLS: dict[str, list[Patch]] = {
    # At every rung.
    "a user id of its own": [
        edited(CONFINEMENT, r"^    if view\.uid is not None:(?=\n        os\.setgroups)", "    if False:"),
        edited(RIGHTS, r"^    if uid is not None:", "    if False:"),
    ],
    "no new privileges": [
        edited(CONFINEMENT, r"^    kernel\.forbid_new_privileges\(\)$", "    pass"),
        edited(INIT, r"^    kernel\.forbid_new_privileges\(\)$", "    pass"),
    ],
    "no core files": [
        edited(CONFINEMENT, r"^    resource\.setrlimit\(resource\.RLIMIT_CORE.*$", "    pass"),
        edited(KERNEL, r"^    resource\.setrlimit\(resource\.RLIMIT_CORE.*$", "    pass"),
    ],
    "descriptors closed, and not inherited": [
        edited("executor/sandbox/filter/judge.py", r"\{status, \*keep\}\)$", "{status, *keep, *range(3, 100)})"),
        edited(INIT, r"kernel\.close_descriptors\(\[kept\]\)", "kernel.close_descriptors([kept, *_sockets()])"),
        edited(INIT, r"^def _close_all_but", _SOCKETS),
        edited(CHILD, r"^        # In two steps.*$", _INHERITED),
        edited(CHILD, r"^        kernel\.close_descriptors\(\[_SOURCE_FD.*$", "        os.closerange(200, 220)"),
        edited(CHILD, r"^        kernel\.close_descriptors\(\[trouble, kept.*$", _SPAWNED),
    ],
    "bounds of a result": [
        edited(REPORT, r"^        if self\._result_size > limit:", "        if False:"),
        edited(REPORT, r"except \(NestedTooDeep, RecursionError\):", "except NestedTooDeep:"),
    ],
    "the output limit": [
        edited("executor/supervisor/allowance.py", r"^        if self\.full or size > .*:", "        if False:")
    ],
    "only what belongs to the run is collected": [
        edited("executor/supervisor/outputs.py", r"^    if uid is not None and found\.st_uid != uid:", "    if False:")
    ],
    "limits by group, rlimit and looks": [
        edited(
            "executor/supervisor/limits.py",
            r'^    asked = dict\(job\["limits"\]\)$',
            '    kept = "project", "name", "mechanisms", "counted"\n'
            '    asked = {name: one for name, one in job["limits"].items() if name in kept}',
        )
    ],
    "the end of the tree, by group and by kills": [
        edited("executor/sandbox/tree.py", r"^    deadline = time\.monotonic\(\) \+ patience$", "    return True"),
        _nothing("executor/sandbox/limits/removal.py", "kill"),
    ],
    # At rung landlock, and at rung namespace the filter.
    "Landlock": [edited(CONFINEMENT, r"^( +)rules\.restrict_self\(\)", r"\1pass")],
    "the filter": [
        edited(CONFINEMENT, r"^        calls\.enter\(.*$", ""),
        edited(INIT, r"^    filter\.install\(.*$", ""),
    ],
    # At rung namespace.
    "scopes": [edited(INIT, r"^    filter\.scope_only\(\)$", "")],
    "a root of its own": [edited(ROOT, r"os\.chdir\(NEW\)", "os.chdir(_OLD)")],
    "a process list of its own": [edited(ROOT, r"^    if own:", "    if False:")],
    "process ids of its own": [
        edited(INIT, r"namespaces\.NEWNS \| namespaces\.NEWPID", "namespaces.NEWNS"),
        _NO_KILLS_OF_ALL,
    ],
    "no capabilities": [
        edited(RIGHTS, r"^    kernel\.checked\(.*$", "    pass"),
        edited(RIGHTS, r"range\(_HIGHEST \+ 1\)", "range(0)"),
    ],
    "System V IPC of its own": [edited(INIT, r'"ipc": namespaces\.NEWIPC, ', "")],
    "a network of its own": [
        edited(INIT, r"kernel\.unshare\(namespaces\.NEWNET\)", "pass"),
        edited(INIT, r"namespaces\.loopback_up\(.*$", "pass"),
    ],
    # An ordinary user has its other namespaces by that of users: all of them go with it.
    "all namespaces": [
        edited(INIT, r"namespaces\.clone\(flags\)", "namespaces.clone(0)"),
        edited(INIT, r"kernel\.unshare\(namespaces\.NEW\w+\)", "pass"),
        edited(INIT, r"namespaces\.loopback_up\(.*$", "pass"),
        edited(INIT, r"^            skeleton\(\)$", "            pass"),
        edited(INIT, r"^        root\.complete\(view\)$", "        pass"),
        edited(INIT, r"^    rights\.give_up\(view\.uid\)$", "    pass"),
        _NO_KILLS_OF_ALL,
    ],
    "covers over sockets": [edited(ROOT, r"^    for path in view\.sockets:", "    for path in ():")],
    # In the worker, and again in the box, where it is mounted on.
    "looks at what a socket's name leads to": [
        edited(SOCKETS, r"stat\.S_ISSOCK\(os\.fstat\(handle\)\.st_mode\)", "True"),
        edited(ROOT, r"stat\.S_ISSOCK\(os\.fstat\(there\)\.st_mode\)", "True"),
    ],
    "the kernel's own way to it": [
        edited(SOCKETS, r"^def _place\(.*$", r"\g<0>\n    return os.path.realpath(path)"),
        # A worker looks for itself as it starts, when sockets of a canary beside it may be there already.
        edited(
            "executor/python/interpreters.py",
            r"^        except \(SealrunError, OSError\):(?=\n            return False\n        return True\n)",
            "        except RecursionError:\n            return True\n\\g<0>",
        ),
    ],
    CONTAINER: [edited("executor/sandbox/box/parts.py", r"= _whole\(usable\)$", '= "taken out"')],
}
WITHOUT_LANDLOCK = _nothing(KERNEL, "landlock_abi", "0")
"""What makes the rung `process` of a machine that grants all."""
