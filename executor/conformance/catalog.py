"""Every attack: what it would give, in which run it is tried, and from which rung on it is promised that it fails."""

from dataclasses import dataclass

PROCESS, LANDLOCK, NAMESPACE = "process", "landlock", "namespace"
RUNGS = (PROCESS, LANDLOCK, NAMESPACE)
MAIN, NONE, FLOOD = "main", "none", "flood"
"""The run of most, one with network `none`, and one that prints without an end; each bomb has a run of its own name."""

BOMBS: dict[str, dict[str, int]] = {
    "fork-bomb": {"pids": 32},
    "disk-filler": {"disk_bytes": 16 << 20},
    "memory-bomb": {"memory_bytes": 128 << 20},
}
"""What the run of each is given; what it tries to have is stated in `attacks/bombs.py`."""

RUNS = (MAIN, NONE, FLOOD, *BOMBS)


@dataclass(frozen=True)
class Attack:
    """One of them; `promised` is the lowest rung at which it fails."""

    name: str
    gives: str
    promised: str
    run: str = MAIN


CATALOG = (
    Attack("environ", "the environment of another process of the worker's user", LANDLOCK),
    Attack("memory", "the memory of another process", LANDLOCK),
    Attack("descriptors", "another process's folders and open files", LANDLOCK),
    Attack("command-lines", "the list of processes, with their arguments", NAMESPACE),
    Attack("ptrace", "another process, as a debugger has it", LANDLOCK),
    Attack("steal-descriptors", "a descriptor out of another process", LANDLOCK),
    Attack("signals", "the end of another process", LANDLOCK),
    Attack("limits-of-others", "the end of another process by its limits", LANDLOCK),
    Attack("priority-of-others", "priority, processors or scheduling of another process", LANDLOCK),
    Attack("worker", "worker, zygote or supervisor: memory, limits, signals", LANDLOCK),
    Attack("daemon", "a process that is left behind", PROCESS),
    Attack("key-file", "SEALRUN_HOME and the key file", LANDLOCK),
    Attack("workers-home", "the files of the worker's user", LANDLOCK),
    Attack("other-run", "another run's private folders", LANDLOCK),
    Attack("source-cache", "the uploaded source of other projects", LANDLOCK),
    Attack("write-outside", "a change of a file of the worker's user", LANDLOCK),
    Attack("mode-outside", "modes and times of the files of the worker's user", NAMESPACE),
    Attack("write-source", "a change of the source it was started from", LANDLOCK),
    Attack("write-system", "a file in /usr, /etc or /opt", PROCESS),
    Attack("proc-sys", "settings of the kernel", PROCESS),
    Attack("devices", "memory and disks as devices, or a device of its own", PROCESS),
    Attack("file-handles", "a file without its path", PROCESS),
    Attack("links", "what links among its files lead to, as its output", LANDLOCK),
    Attack("preload", "the key file by a grandchild with a loader of its own", LANDLOCK),
    Attack("setuid", "root by a setuid program", PROCESS),
    Attack("core-file", "a core file with what it held", PROCESS),
    Attack("shared-memory", "shared memory of other processes", NAMESPACE),
    Attack("io-uring", "a second way into the kernel, past filters", LANDLOCK),
    Attack("bpf", "programs and maps in the kernel", LANDLOCK),
    Attack("perf", "the kernel's measuring of what runs", LANDLOCK),
    Attack("userfaultfd", "a hold on the kernel's own reads", LANDLOCK),
    Attack("keyring", "the keys of the worker's user", LANDLOCK),
    Attack("keys-kept", "a key that is there for the next run", LANDLOCK),
    Attack("user-namespace", "a user namespace of its own", LANDLOCK),
    Attack("mount", "mounts of its own", PROCESS),
    Attack("pivot-root", "another root", PROCESS),
    Attack("setns", "the namespaces of others", PROCESS),
    Attack("kernel-code", "modules, or another kernel", PROCESS),
    Attack("kernel-log", "the kernel's log", LANDLOCK),
    Attack("raw-sockets", "packets as they pass", PROCESS),
    Attack("vsock", "the hypervisor", LANDLOCK),
    Attack("terminal", "words typed into the worker's terminal", PROCESS),
    Attack("unix-source", "a program that listens at a unix socket in the source", LANDLOCK),
    Attack("unix-readable", "the same in a folder of SEALRUN_READABLE", LANDLOCK),
    Attack("unix-writable", "the same in a folder of SEALRUN_WRITABLE", LANDLOCK),
    Attack("unix-elsewhere", "the same anywhere else", LANDLOCK),
    Attack("unix-abstract", "the same without a path", LANDLOCK),
    Attack("unix-datagram", "the same by datagrams", LANDLOCK),
    Attack("tmux", "a command in a tmux of the worker's user", LANDLOCK),
    Attack("ssh-agent", "the keys of an ssh-agent of the worker's user", LANDLOCK),
    Attack("covered", "files of the system gone from runs beside it, by the names of its sockets", PROCESS),
    Attack("starts", "the start of runs beside it, by the names of its sockets", PROCESS),
    Attack("deep-result", "the supervisor's end, by what it returns", PROCESS),
    Attack("forged-frames", "an outcome of its own wording", PROCESS),
    Attack("endless-line", "the worker's memory, by a line without an end", PROCESS, FLOOD),
    Attack("fork-bomb", "more processes than it was given", PROCESS, "fork-bomb"),
    Attack("disk-filler", "more disk than it was given, in files that have a name or are open", PROCESS, "disk-filler"),
    Attack("memory-bomb", "more memory than it was given", PROCESS, "memory-bomb"),
    Attack("none-loopback", "with network none: this machine's servers", PROCESS, NONE),
    Attack("none-servers", "with network none: Redis and PostgreSQL", PROCESS, NONE),
    Attack("none-metadata", "with network none: the cloud's metadata", PROCESS, NONE),
    Attack("none-names", "with network none: a name server", PROCESS, NONE),
)
BY_NAME = {one.name: one for one in CATALOG}


def names(run: str) -> list[str]:
    """The attacks of one run, in their order."""
    return [one.name for one in CATALOG if one.run == run]
