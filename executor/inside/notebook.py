"""Execute a notebook: runs in the run's own process, with its Python's nbclient and ipykernel.

Standard library only until the notebook is read, any Python from 3.9; it comes as text, see `entry.run_notebook`. The
cells run in a kernel that is a child of this process. What they print is printed here as it comes; the notebook as it
was executed, and a page of it, go into the run's output folder, where the supervisor masks them.
"""

import ast
import asyncio
import atexit
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile

PARAMETERS, INJECTED = "parameters", "injected-parameters"  # tags, as papermill has them
SOCKET_LIMIT = 90  # characters of the path of a unix socket, beside a number
START_PATIENCE = 300  # seconds for a kernel that imports from a cold disk
SAVED_EVERY = 10.0  # seconds
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def run(target, given):
    """Execute a notebook from its first cell to its last, or to the one that fails.

    Args:
        target: its path, the arguments `text` and `json` by name, and the folders to import from.
        given: what `entry` has for it: `convert`, `Mistake` and `Raised`.
    """
    path = os.path.abspath(target["path"])
    nbformat, client_class, manager_class = libraries(given["Mistake"])
    with open(path, encoding="utf-8") as file:
        book = nbformat.reads(file.read(), as_version=4)
    cells, unknown = with_parameters(book.cells, arguments(book.cells, target, given["convert"]))
    book.cells = [nbformat.from_dict(cell) for cell in cells]
    if unknown:
        print(f"sealrun: note: the cell tagged {PARAMETERS} does not set {', '.join(unknown)}", file=sys.stderr)
    place = os.path.join(os.environ["SEALRUN_OUTPUT_DIR"], os.path.basename(path))
    manager = manager_class(target.get("import_from", ()), target["scoped"])
    client = client_class(book, manager, lambda: save(book, place), os.path.dirname(path))
    ended = None
    try:
        asyncio.run(client.async_execute(cleanup_kc=True))
    except client.failures as error:
        ended = client.ended(error, target["path"], given["Raised"])
    finally:
        save(book, place)
        shutil.rmtree(os.path.dirname(manager.connection_file), ignore_errors=True)
    page(book, os.path.splitext(place)[0] + ".html")
    if ended is not None:
        raise ended


def libraries(mistake):
    """Import what executes notebooks.

    Raises:
        Mistake: it is not there.
    """
    try:
        import ipykernel  # noqa: F401  # the kernel's, which is of this same Python
        import nbclient
        import nbformat
        from jupyter_client import AsyncKernelManager
        from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    except ImportError as error:
        raise mistake(
            f"this run's Python, {sys.executable}, has no {error.name}, which executes notebooks: install nbclient and"
            " ipykernel there, or take an environment made for this run: --with nbclient --with ipykernel"
        ) from None

    class OwnKernel(KernelSpecManager):
        """This Python's kernel, whatever name the notebook has for the one it was written with."""

        def get_kernel_spec(self, kernel_name):
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=argv, display_name="Python", language="python")

    class Manager(AsyncKernelManager):
        """Reached through unix sockets: whoever may connect hears what cells print, and anybody could use a port.

        Abstract ones where the sandbox keeps those to the run, else in a folder that is the run's own.
        """

        def __init__(self, folders, scoped):
            super().__init__(transport="ipc", kernel_spec_manager=OwnKernel())
            folder = tempfile.mkdtemp()
            self.connection_file = os.path.join(folder, "k.json")  # its key is not for others
            self.ip = f"@sealrun-{secrets.token_hex(16)}" if scoped else os.path.join(short(folder), "k")
            added = f"__import__('sys').path.extend({list(folders)!r})"
            self.arguments = ["--HistoryManager.enabled=False", f"--IPKernelApp.exec_lines={added}"]

    return nbformat, client_of(nbclient), Manager


def short(folder):
    """Return a path to a folder that sockets can have; what it leads to is as private as before."""
    if len(folder) < SOCKET_LIMIT:
        return folder
    link = f"/dev/shm/{secrets.token_hex(16)}"
    os.symlink(folder, link)
    atexit.register(os.unlink, link)
    return link


def client_of(nbclient):
    """Return the client: nbclient's, which also prints what comes, saves from time to time, and hears signals."""

    class Client(nbclient.NotebookClient):
        failures = (nbclient.exceptions.CellExecutionError, nbclient.exceptions.DeadKernelError)

        def __init__(self, book, manager, saved, folder):
            more = {"coalesce_streams": True} if "coalesce_streams" in nbclient.NotebookClient.class_traits() else {}
            super().__init__(
                book,
                km=manager,
                timeout=None,
                startup_timeout=START_PATIENCE,
                extra_arguments=manager.arguments,
                resources={"metadata": {"path": folder}},
                **more,
            )
            self._saved, self._at, self._saved_at, self._status = saved, 0, 0.0, None

        async def async_execute_cell(self, cell, cell_index, *args, **more):
            loop = asyncio.get_running_loop()
            self._at = cell_index
            # In the place of nbclient's, which kill the kernel: a cell that is interrupted may tidy up.
            loop.add_signal_handler(signal.SIGINT, lambda: asyncio.ensure_future(self.km.interrupt_kernel()))
            loop.add_signal_handler(signal.SIGTERM, self._terminate)
            try:
                done = await super().async_execute_cell(cell, cell_index, *args, **more)
            except nbclient.exceptions.DeadKernelError:
                self._status = self.km.provisioner.process.poll()
                raise
            if loop.time() >= self._saved_at + SAVED_EVERY:
                self._saved_at = loop.time()
                self._saved()
            return done

        def process_message(self, msg, cell, cell_index):
            shown = super().process_message(msg, cell, cell_index)
            content = msg["content"]
            if msg["msg_type"] == "stream":
                show(content["text"], sys.stderr if content["name"] == "stderr" else sys.stdout)
            elif msg["msg_type"] in ("execute_result", "display_data") and "text/plain" in content["data"]:
                show(content["data"]["text/plain"] + "\n", sys.stdout)
            return shown

        def ended(self, error, path, raised):
            """What an end of the cells before the last one means: an exception to raise, or None."""
            if isinstance(error, nbclient.exceptions.DeadKernelError):
                end_as(self._status)
                return raised("DeadKernelError", f"the kernel ended in cell {self._at + 1}", f"sealrun: {error}\n")
            if error.ename == "SystemExit":
                return exit_of(error.evalue)
            cell = self.nb.cells[self._at]
            count = cell.get("execution_count")
            where = f"{path}, cell {self._at + 1}" + (f", In [{count}]" if count else "")
            lines = [line for one in cell.get("outputs", ()) for line in one.get("traceback", ())]
            told = "\n".join(lines) or f"{error.ename}: {error.evalue}"
            return raised(error.ename, f"{error.evalue} (in cell {self._at + 1})", f"{where}:\n{ANSI.sub('', told)}\n")

        def _terminate(self):
            self._saved()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    return Client


def show(text, stream):
    with contextlib.suppress(OSError, ValueError):
        stream.write(text)
        stream.flush()


def end_as(status):
    """End by the signal that ended the kernel, so that the run is known to have run out of memory, or crashed."""
    if status is not None and status < 0:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)


def exit_of(value):
    """What `exit()` in a cell means, as in a file."""
    if value in ("", "None", "0"):
        return None
    return SystemExit(int(value) if re.fullmatch(r"-?[0-9]+", value) else value)


def save(book, place):
    """Write the notebook. Each text is whole, not a list of lines, so that a secret of several lines is found in it."""
    part = os.path.join(tempfile.gettempdir(), "executed.ipynb")  # half of one is none of the run's outputs
    with open(part, "w", encoding="utf-8") as file:
        json.dump(book, file, indent=1, ensure_ascii=False)
        file.write("\n")
    shutil.move(part, place)


def page(book, place):
    """Write the notebook as a page, where nbconvert is there; without it, or if that fails, say so."""
    try:
        from nbconvert import HTMLExporter

        text, _ = HTMLExporter().from_notebook_node(book)
    except ImportError as error:
        print(f"sealrun: note: no page was made: this run's Python has no {error.name}", file=sys.stderr)
        return
    except Exception as error:  # noqa: BLE001  # the notebook was executed, which is what the run is for
        print(f"sealrun: note: no page was made: nbconvert raised {type(error).__name__}", file=sys.stderr)
        return
    with open(place, "w", encoding="utf-8") as file:
        file.write(text)


# Parameters ---------------------------------------------------------------------------------------


def arguments(cells, target, convert):
    """Return the arguments by name: JSON as it is, text as what the cell of parameters has for the name."""
    known = next((declared(cell) for cell in cells if is_tagged(cell, PARAMETERS)), {})
    words = target.get("text", {}).items()
    typed = {name: typed_as(name, text, known.get(name, (None, None)), convert) for name, text in words}
    return {**target.get("json", {}), **typed}


def declared(cell):
    """Return the names that a cell of parameters sets, each with its annotation and its value, if it has them."""
    try:
        statements = ast.parse(source_of(cell)).body
    except SyntaxError:  # it may hold a magic of IPython's
        return {}
    found = {}
    for one in statements:
        places = one.targets if isinstance(one, ast.Assign) else [getattr(one, "target", None)]
        annotation = ast.unparse(one.annotation) if isinstance(one, ast.AnnAssign) else None
        value = None
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            value = ast.literal_eval(one.value)
        found.update({name.id: (annotation, value) for name in places if isinstance(name, ast.Name)})
    return found


def typed_as(name, text, like, convert):
    """Turn a text into what a parameter is: as it is annotated, else as the number or bool that it was set to."""
    annotation, value = like
    if annotation is not None or isinstance(value, (bool, float)):
        return convert(name, text, annotation or type(value))
    if isinstance(value, int):
        return convert(name, text, "float" if "." in text else "int")
    return text


def with_parameters(cells, given):
    """Return the cells with one that sets these names, and those names that the cell of parameters does not set.

    It stands where the last run put one, else behind the cell of parameters, else first.
    """
    cells = [dict(cell) for cell in cells]
    if not given:
        return cells, []
    tagged = next((at for at, cell in enumerate(cells) if is_tagged(cell, PARAMETERS)), None)
    before = next((at for at, cell in enumerate(cells) if is_tagged(cell, INJECTED)), None)
    known = set(given) if tagged is None else set(declared(cells[tagged]) or given)
    lines = [f"{name} = {written(value)}" for name, value in given.items()]
    cell = {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {"tags": [INJECTED]},
        "outputs": [],
        "source": "\n".join(["# Parameters", *lines]),
    }
    if any("id" in other for other in cells):
        cell["id"] = INJECTED  # before version 4.5 of the format a cell may have none
    if before is not None:
        cells[before] = cell
    else:
        cells.insert(0 if tagged is None else tagged + 1, cell)
    return cells, [name for name in given if name not in known]


def written(value):
    """Write a value as Python."""
    text = repr(value)
    return f"__import__('datetime').{text.partition('.')[2]}" if text.startswith("datetime.") else text


def is_tagged(cell, tag):
    return cell.get("cell_type") == "code" and tag in cell.get("metadata", {}).get("tags", ())


def source_of(cell):
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)
