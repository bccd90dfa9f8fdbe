"""The run's own process: forked and confined first, then given its environment."""

import contextlib
import errno
import fcntl
import marshal
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from executor.errors import StartFailed
from executor.sandbox import confinement, kernel, passing, tree
from executor.sandbox.box import init
from executor.sandbox.filter import judge as judges
from executor.sandbox.limits import Entry, lower_descriptors
from executor.sandbox.working import copy
from executor.supervisor.ending import signal_group

# Read once, in the zygote: runs need no file access, and an upgrade on disk cannot mix versions.
_INSIDE = Path(__file__).parents[1] / "inside"
_HANDLES = (_INSIDE / "handles.py").read_bytes()
_NOTEBOOK = (_INSIDE / "notebook.py").read_bytes()
_PARTS = {name: (_INSIDE / f"{name}.py").read_bytes() for name in ("telling", "entry")}
_MARSHAL_VERSION = 2  # the last version without references, which every Python 3 reads
_SOURCE = marshal.dumps(_PARTS, _MARSHAL_VERSION)
_COMPILED = marshal.dumps({name: compile(part, "<sealrun>", "exec") for name, part in _PARTS.items()})
_TAG = sys.implementation.cache_tag
PROGRAM = b"%s %d %d\n" % (_TAG.encode(), len(_COMPILED), len(_SOURCE)) + _COMPILED + _SOURCE
"""What the run's interpreter reads first; its environment follows it in the same memory."""
# The interpreter reads its program from memory, so that the run needs no access to our files, and nobody has to wait
# until it reads. One of our own version takes the compiled form, which saves two milliseconds. Each part finds those
# before it as modules.
_BOOTSTRAP = f"""
import os, sys, marshal
tag, *sizes = (data := os.pread(5, {len(PROGRAM)}, 0)).partition(b"\\n")[0].split()
first, second = map(int, sizes)
forms = data[-first - second:-second], data[-second:]
known = {{"source": os.fdopen(3, "rb"), "begins": len(data)}}
for name, part in marshal.loads(forms[tag.decode() != sys.implementation.cache_tag]).items():
    module = type(sys)(name)
    module.__dict__.update(known)
    known[name] = module
    exec(compile(part, "<sealrun>", "exec") if type(part) is bytes else part, module.__dict__)
"""
# All of them: a run would inherit the signals that whatever started the worker ignored (a shell's `&`, nohup).
_SIGNALS = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_UMASK = 0o022
_UNLIMITED = Entry()
_BOX_ENDS = 1.0  # seconds; then its processes are looked for one by one
_START = "start "
_NO_MARKS = marshal.dumps({}, _MARSHAL_VERSION)
_NO_INTERPRETER = "the program that its first line names"
_NOT_STARTED = f"could not {_START}"

# In the run: the byte that says go; the result; its program and the environment, which is valid after that byte.
_SOURCE_FD, _RESULT_FD, _ENVIRONMENT_FD = 3, 4, 5


@dataclass(frozen=True)
class Child:
    """The run's first process, or the first one of its box.

    `pid` is a child of ours, and `over` becomes readable when the run's first process has ended.
    """

    pid: int
    over: int
    stdout: int
    stderr: int
    result: int
    boxed: bool = False

    def collected(self) -> int | None:
        """Once it is over: end what else its group or its box has, and return its wait status.

        None where that cannot be known: another process of the run traces it, or its box was killed.
        """
        if self.boxed:
            status = init.status_of(self.over)
            signal_group(self.pid, signal.SIGKILL)
            tree.await_end(self.pid, _BOX_ENDS)  # the kernel has ended all others of a box by then
            return status
        # Before the wait, while the id is still the child's.
        signal_group(self.pid, signal.SIGKILL)
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return status if pid else None

    def has_others(self) -> bool:
        """Tell whether anything of the tree is left but its first process, which is over."""
        tree.reap([self.pid])
        if self.boxed:  # its first process ends with the last of the others
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        return next(tree.descendants([self.pid]), None) is not None


class Waiting:
    """A process that is forked and confined, holds nothing, and waits for its environment.

    Its interpreter starts while the gate is passed and the values are opened. Nothing of the target is touched before
    `start`, and its output is not read before the masker exists. Forked before any value arrives, it never holds a copy
    of a value that is not its own.
    """

    def __init__(
        self,
        child: Child,
        target: Mapping[str, Any],
        scoped: bool,
        source: int,
        environment: int,
        trouble: int,
        copied: int,
    ) -> None:
        self._child = child
        self._scoped = scoped
        self._target = dict(target)
        self._source = source
        self._environment = environment
        self._trouble = trouble
        self._copied = copied
        self.marks: dict[bytes, copy.Mark] = {}
        """Of what was copied for the run, see `working.copy`, once it has started."""

    def abandon(self) -> None:
        """End the process; it has not touched its target."""
        os.kill(self._child.pid, signal.SIGKILL)
        os.waitpid(self._child.pid, 0)
        close(self._child)
        for fd in (self._source, self._environment, self._trouble, self._copied):
            os.close(fd)

    def start(
        self,
        entries: Mapping[bytes, bytes],
        files: Mapping[str, bytes] = {},
        objects: Mapping[str, Mapping[str, Any]] = {},
    ) -> Child:
        """Hand over the environment and let the process go.

        Args:
            entries: the environment.
            files: path to content; the run's own process writes them before anything else.
            objects: the function's parameters that are data sources and catalogs, see `handles.connect`.

        Raises:
            StartFailed: the folder or the program is missing, or the kernel refused the confinement.
        """
        # marshal is built in: a run need not import json.
        given: dict[str, Any] = {"target": self._target, "environment": dict(entries), "files": dict(files)}
        if self._target["kind"] == "notebook":
            given["target"] = {**self._target, "runner": _NOTEBOOK, "scoped": self._scoped}
        if objects:
            given |= {"objects": {name: dict(one) for name, one in objects.items()}, "handles": _HANDLES}
        document = marshal.dumps(given, _MARSHAL_VERSION)
        with os.fdopen(self._environment, "wb") as memory:
            memory.write(document)
        with contextlib.suppress(BrokenPipeError):
            os.write(self._source, b"!")
        os.close(self._source)
        # Ends at exec, or with a sentence on what went wrong before it.
        with os.fdopen(self._trouble, "rb") as trouble:
            why = trouble.read(4096).decode(errors="replace")
        with os.fdopen(self._copied, "rb") as memory:
            memory.seek(0)
            self.marks = marshal.loads(memory.read() or _NO_MARKS)
        if why:
            os.waitpid(self._child.pid, 0)
            close(self._child)
            if why.startswith(_NOT_STARTED):
                raise StartFailed("the run {why}", why=why, hint=_hint(why, self._target))
            raise StartFailed(why=why)
        return self._child


def prepare(
    *,
    target: Mapping[str, Any],
    python: str,
    folder: str,
    view: confinement.View,
    bare: Mapping[str, str],
    program: str | None = None,
    copied_from: str | None = None,
    entry: Entry = _UNLIMITED,
    descriptors: int | None = None,
    box: init.Box | None = None,
) -> Waiting:
    """Fork the run's own process and confine it; nothing of its target starts before `Waiting.start`.

    An interpreter starts at once with `bare` and receives its environment over a descriptor, so that its
    `/proc/PID/environ` holds no secret; a command has to get everything by exec.

    Args:
        target: `{"kind": "file" | "module" | "function" | "notebook" | "command", …}`, see `entry`.
        python: the run's interpreter.
        folder: the working directory.
        view: what it may reach.
        bare: environment without secrets.
        program: of a command, where its first word is not found on the run's PATH.
        copied_from: the source of which the working directory is to be a copy, if it is one.
        entry: its limits, in force before anything of the run is there.
        descriptors: how many it may have open, unless it asks for more.
        box: one that was made before anybody knew the run; it is given up if the run takes another.
    """
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(5)]
    (out_read, out_write), (err_read, err_write), (result_read, result_write), *rest = pipes
    (trouble_read, trouble_write), (source_read, source_write) = rest
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    environment = os.memfd_create("sealrun", os.MFD_CLOEXEC)  # memory without a name in any file system
    copied = os.memfd_create("sealrun", os.MFD_CLOEXEC)
    if target["kind"] != "command":
        os.write(environment, PROGRAM)
    streams = (copied, null, out_write, err_write, source_read, result_write, environment)
    document = {
        "command": target["kind"] == "command",
        "arguments": _arguments(target, python, program),
        "bare": {name.encode(): value.encode() for name, value in bare.items()},
        "folder": folder,
        "copied_from": copied_from,
        "descriptors": descriptors,
    }
    pipes_of = (out_read, err_read, result_read)
    if view.rung == "namespace":
        child = _boxed(view, document, [trouble_write, *streams], pipes_of, entry, box)
    else:
        child = _confined(view, document, [trouble_write, *streams], pipes_of, entry)
    for fd in (null, out_write, err_write, result_write, trouble_write, source_read):
        os.close(fd)
    return Waiting(child, target, confinement.scopes_sockets(view), source_write, environment, trouble_read, copied)


def _confined(
    view: confinement.View,
    document: Mapping[str, Any],
    descriptors: Sequence[int],
    pipes: tuple[int, int, int],
    entry: Entry,
) -> Child:
    """Fork a process that confines itself; where its connections are judged, from the one that judges them."""
    parent = os.getpid()
    if not confinement.judged(view):
        pid = os.fork()
        if pid == 0:
            _become(document, descriptors, lambda _: confinement.enter(view, parent, signal.SIGKILL), entry=entry)
        return Child(pid, os.pidfd_open(pid), *pipes)

    def work(channel: int, judge: int) -> NoReturn:
        def bind(kept: int | None) -> None:
            confinement.enter(view, judge, signal.SIGKILL, kept)

        _become(document, descriptors, bind, channel, entry)

    over, over_write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = judges.start(view.writable, view.uid, over_write, [*descriptors, *entry.doors], work)
    finally:
        os.close(over_write)
    return Child(pid, over, *pipes, boxed=True)


def _boxed(
    view: confinement.View,
    document: Mapping[str, Any],
    descriptors: Sequence[int],
    pipes: tuple[int, int, int],
    entry: Entry,
    box: init.Box | None,
) -> Child:
    """Have the process made in the box, or in another; what goes wrong is said through the first descriptor."""
    over, over_write = os.pipe2(os.O_CLOEXEC)
    try:
        trouble, *streams = descriptors
        if box is not None and box.parts != view.parts:
            box.give_up()
            box = None
        box = box or init.make(view.parts, first_of_box)
        try:
            box.go(view, document, [trouble, over_write, *streams], entry)
        except OSError as error:
            if passing.too_many(error):
                raise
            # It is gone, which `over` tells.
    finally:
        os.close(over_write)
    return Child(box.pid, over, *pipes, boxed=True)


def _arguments(target: Mapping[str, Any], python: str, program: str | None) -> list[str]:
    if target["kind"] == "command":
        return [program, *target["argv"][1:]] if program is not None else list(target["argv"])
    shown = target.get("path") or target.get("module") or ""
    return [python, "-c", _BOOTSTRAP, shown, *target.get("argv", ())]


def first_of_box(document: Mapping[str, Any], descriptors: Sequence[int], kept: int) -> int:
    """Start the run's first process from the first one of its box."""
    if document["command"] or document["copied_from"] is not None:
        return init.forked(_become)(document, descriptors, kept)
    return _spawn(document, descriptors, kept)


def _spawn(document: Mapping[str, Any], descriptors: Sequence[int], kept: int) -> int:
    """Start an interpreter as `_become` does, without a copy of this process's memory that lasts until exec."""
    trouble, _, *streams = descriptors
    arguments: list[str] = document["arguments"]
    step = "prepare the process"
    try:
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200) for fd in streams]
        kernel.close_descriptors([trouble, kept, *high])
        for fd in (trouble, kept):
            os.set_inheritable(fd, False)
        os.umask(_UMASK)
        lower_descriptors(document["descriptors"])
        step = f"enter the folder {document['folder']}"
        os.chdir(document["folder"])
        step = f"{_START}{arguments[0]}"
        pid = os.posix_spawn(
            arguments[0],
            arguments,
            document["bare"],
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, position) for position, fd in enumerate(high)],
            setsid=True,
            setsigmask=(),
            setsigdef=_SIGNALS,
        )
        os.chdir("/")
        return pid
    except OSError as error:
        _report(trouble, f"could not {step}: {_reason(error, arguments)}")
        os._exit(127)


def _become(
    document: Mapping[str, Any],
    descriptors: Sequence[int],
    bind: Callable[[int | None], None] = lambda _: None,
    judge: int | None = None,
    entry: Entry = _UNLIMITED,
) -> NoReturn:
    """Become the run, in the forked process: never returns, and reports a failure through the first descriptor."""
    step = "enter its limits"
    trouble, copied, *streams = descriptors
    arguments: list[str] = document["arguments"]
    try:
        entry.enter()
        step = "prepare the process"
        os.setsid()
        os.umask(_UMASK)
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # In two steps, so that no descriptor is overwritten before it is copied.
        high = [os.dup2(fd, 200 + position, inheritable=True) for position, fd in enumerate(streams)]
        own = [trouble, copied] if judge is None else [trouble, copied, judge]
        trouble, copied, *judges_end = (os.dup2(fd, 220 + place, inheritable=False) for place, fd in enumerate(own))
        for position, fd in enumerate(high):
            os.dup2(fd, position, inheritable=True)
        kernel.close_descriptors([_SOURCE_FD, _RESULT_FD, _ENVIRONMENT_FD, trouble, copied, *judges_end])
        step = "enter its sandbox"
        bind(next(iter(judges_end), None))
        lower_descriptors(document["descriptors"])  # not before that, which may have sent one
        if (source := document["copied_from"]) is not None:
            step = "copy its source"
            os.write(copied, marshal.dumps(copy.make(source, document["folder"]).marks, _MARSHAL_VERSION))
        step = f"enter the folder {document['folder']}"
        os.chdir(document["folder"])
        step = "write its files"
        environment: dict[bytes, bytes] = _wait() if document["command"] else document["bare"]
        step = f"{_START}{arguments[0]}"
        if "/" in arguments[0]:
            os.execve(arguments[0], arguments, environment)
        else:
            os.execvpe(arguments[0], arguments, environment)
    except OSError as error:
        _report(trouble, f"could not {step}: {_reason(error, arguments)}")
    except BaseException as error:  # noqa: BLE001  # ends in _exit
        # The text of any other exception may quote what this process holds: only its type leaves.
        _report(trouble, f"could not {step}: {type(error).__name__}")
    os._exit(127)


def _reason(error: OSError, arguments: list[str]) -> str | None:
    """Return the kernel's word for it; of a script it means the program of the first line, not the script."""
    if not arguments or "/" not in arguments[0]:
        return error.strerror
    if error.errno == errno.ENOENT and os.path.isfile(arguments[0]):
        return f"{_NO_INTERPRETER} is not there"
    return "it is a folder" if os.path.isdir(arguments[0]) else error.strerror


def _hint(why: str, target: Mapping[str, Any]) -> str:
    """Return what to do about a program that could not be started."""
    name = next(iter(target["argv"]), "") if target["kind"] == "command" else ""
    if name.endswith((".py", ".pyw")):
        return f"a file of Python runs without --: sealrun run {name}"
    if why.endswith(os.strerror(errno.EACCES)):
        return "chmod +x it, or name what runs it, as in -- sh job.sh; a run cannot read what lies in a home folder"
    if _NO_INTERPRETER in why:
        return "install that on the worker, end the first line as Unix does, or name what runs it, as in -- sh job.sh"
    return "name a program on the run's PATH, or a path relative to the source root"


def _wait() -> dict[bytes, bytes]:
    """Wait for a command's environment; end the process if the gate stays shut."""
    if not os.read(_SOURCE_FD, 1):
        os._exit(0)
    os.lseek(_ENVIRONMENT_FD, 0, os.SEEK_SET)
    with os.fdopen(_ENVIRONMENT_FD, "rb") as memory:
        document = marshal.load(memory)
    os.close(_SOURCE_FD)
    os.close(_RESULT_FD)
    _write(document["files"])
    environment: dict[bytes, bytes] = document["environment"]
    return environment


def _write(files: Mapping[str, bytes]) -> None:
    """Write files as the run's user, in its sandbox; `entry` does this if an interpreter has started already."""
    for path, content in files.items():
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(path), 0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
        with os.fdopen(handle, "wb") as file:
            file.write(content)


def _report(trouble: int, text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(trouble, text.encode()[:4096])


def close(child: Child) -> None:
    """Close a child's descriptors."""
    for fd in (child.over, child.stdout, child.stderr, child.result):
        with contextlib.suppress(OSError):
            os.close(fd)


def adopt(fd: int) -> socket.socket:
    """Make a socket of a descriptor that was handed over; exec closes it."""
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)
