"""Take the run's environment from a descriptor, then call the target: runs in the run's own process and interpreter.

Standard library only, any Python from 3.9, and before the environment is in place only modules that the interpreter has
loaded anyway. It comes over descriptor 3, so the run needs no access to a file of sealrun.
"""

import marshal
import os
import sys

RESULT_FD = 4
ENVIRONMENT_FD = 5
source = globals().get("source")


def main():
    if not source.read(1):
        os._exit(0)  # the gate stayed shut
    source.close()
    document = environment()
    write(document.pop("files"))
    os.environ.clear()
    for name, value in document.pop("environment").items():
        os.environb[name] = value
    target = document["target"]
    os.set_inheritable(RESULT_FD, False)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)
    sys.path[0] = ""
    IMPORT_FROM[:] = target.get("import_from", ())
    sys.path += [folder for folder in IMPORT_FROM if folder not in sys.path]
    try:
        if "objects" in document:
            target["json"].update(make_objects(document.pop("handles"), document.pop("objects")))
        returned = CALLS[target["kind"]](target)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001  # KeyboardInterrupt and the like are outcomes, too
        problem(error)
        finish()
        sys.exit(1)
    if target["kind"] == "function":
        finish()
        report(result(returned))


def environment():
    """Read what the supervisor has written into memory; close it before anything else can see it."""
    os.lseek(ENVIRONMENT_FD, 0, os.SEEK_SET)
    with os.fdopen(ENVIRONMENT_FD, "rb") as memory:
        return marshal.load(memory)


def write(files):
    """Write the run's secrets and credentials that are files; none of them can exist yet."""
    for path, content in files.items():
        folder, name = os.path.split(path)
        try:  # noqa: SIM105  # a run does not pay for importing contextlib
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        # Something may have run as the interpreter started, and put a link to where files outlive the run.
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        found = os.fstat(place)
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError(f"{folder}, the folder of this run's secret files, is open to others")
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400, dir_fd=place)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.close(place)


def make_objects(source, objects):
    """Make the data sources and catalogs of a function's parameters, with the source of their module."""
    module = brought("sealrun_connections", source)
    return {name: module.connect(one) for name, one in objects.items()}


def brought(name, source):
    """Make a module of a text."""
    module = type(sys)(name)
    sys.modules[name] = module
    exec(compile(source, OBJECTS, "exec"), module.__dict__)
    return module


def run_file(target):
    """Run as `python path.py ARGS`."""
    path = os.path.abspath(target["path"])
    sys.argv = [target["path"], *target["argv"]]
    sys.path[0] = os.path.dirname(path)
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    module = fresh_main(path)
    exec(code, module.__dict__)


def run_module(target):
    """Run as `python -m pkg.module ARGS`, from the source root."""
    import runpy

    sys.path[0] = os.getcwd()
    sys.argv = [target["module"], *target["argv"]]
    try:
        runpy.run_module(target["module"], run_name="__main__", alter_sys=True)
    except ImportError as error:
        if is_missing(target["module"], error):
            raise Mistake(f"there is no module {target['module']} in {places()}") from None
        if str(error).startswith(f"No module named {target['module']}.__main__;"):
            raise Mistake(f"{target['module']} is a package without a __main__.py: name one of its modules") from None
        raise


def is_missing(name, error):
    """Tell whether runpy did not find the module or its package, rather than something that they import."""
    if str(error) == f"No module named {name}":
        return True
    package = getattr(error.__cause__, "name", None)
    about = f"Error while finding module specification for {name!r}"
    return str(error).startswith(about) and package is not None and f"{name}.".startswith(f"{package}.")


def places():
    """Say where modules are looked for."""
    root = os.getcwd()
    folders = [f"its folder {os.path.relpath(folder, root)}" for folder in IMPORT_FROM if folder != root]
    return " or in ".join(["the source root", *folders, f"this run's Python, {sys.executable}"])


def run_function(target):
    """Call `path.py:function` with arguments converted as its annotations say."""
    import importlib.util

    path = os.path.abspath(target["path"])
    sys.argv = [target["path"]]
    sys.path[0] = os.path.dirname(path)
    if os.getcwd() != sys.path[0]:
        sys.path.insert(1, os.getcwd())
    name = module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise Mistake(f"{target['path']} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    function = getattr(module, target["function"], None)
    if not callable(function):
        raise Mistake(f"{target['path']} has no function {target['function']}")
    positional, named = arguments(function, target)
    returned = function(*positional, **named)
    if not hasattr(returned, "__await__"):
        return returned
    import asyncio

    async def wait():  # asyncio.run takes a coroutine only, and not everything that can be awaited
        return await returned

    return asyncio.run(wait())


def module_name(path):
    """Name a file as it is imported where it lies in the source root's own package, else by the file alone."""
    base = os.path.splitext(path)[0]
    for folder in IMPORT_FROM:
        parts = os.path.relpath(base, folder).split(os.sep)
        packages = [os.path.join(folder, *parts[:depth], "__init__.py") for depth in range(1, len(parts))]
        if packages and all(map(str.isidentifier, parts)) and all(map(os.path.exists, packages)):
            return ".".join(parts)
    return os.path.basename(base)


def run_notebook(target):
    """Execute a notebook's cells, with arguments as its parameters."""
    sys.argv, sys.path[0] = [target["path"]], os.path.dirname(os.path.abspath(target["path"]))
    runner = brought("sealrun_notebook", target.pop("runner"))
    runner.run(target, {"convert": convert, "Mistake": Mistake, "Raised": Raised})


def arguments(function, target):
    """Return positional and named arguments: text converted by annotation, JSON as it is.

    Raises:
        Mistake: the function does not take them.
    """
    import inspect

    args, text = target.get("args", []), target.get("text", {})
    named = {**target.get("json", {}), **text}
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a callable written in C may not have one
        return [given(one) for one in args], named
    called = f"{target['function']}{signature}"
    parameters = signature.parameters.values()
    in_order = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    rest = [one for one in parameters if one.kind is one.VAR_POSITIONAL]
    more = [one for one in parameters if one.kind is one.VAR_KEYWORD]
    if len(args) > len(in_order) and not rest:
        takes = f"at most {len(in_order)}" if in_order else "no"
        raise Mistake(f"{called} takes {takes} arguments by position, {len(args)} were given")
    by_name = {one.name: one for one in parameters if one not in rest + more}
    unknown = [name for name in named if name not in by_name and not more]
    if unknown:
        raise Mistake(f"{called} has no argument {', '.join(unknown)}")
    # Each argument by position with its parameter; those beyond the named ones belong to *args.
    places = in_order[: len(args)] + rest * (len(args) - len(in_order))
    positional = [given(one, parameter) for one, parameter in zip(args, places)]
    for name, word in text.items():
        parameter = by_name.get(name) or more[0]
        named[name] = convert(name, word, parameter.annotation)
    try:
        signature.bind(*positional, **named)
    except TypeError as error:
        raise Mistake(f"{called}: {error}") from None
    return positional, named


def given(one, parameter=None):
    """Return a positional argument: JSON, or text converted for its parameter."""
    if "json" in one:
        return one["json"]
    return one["text"] if parameter is None else convert(parameter.name, one["text"], parameter.annotation)


def convert(name, text, annotation):
    import datetime

    annotation = known_type(annotation)
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        if annotation == "int":
            return int(text)
        if annotation == "float":
            return float(text)
        if annotation == "bool":
            return words[text.lower()]
        if annotation == "date":
            return datetime.date.fromisoformat(text)
    except (ValueError, KeyError):
        raise Mistake(f"argument {name} is not a valid {annotation}: {text!r}") from None
    return text


def known_type(annotation):
    """Return `int`, `float`, `bool` or `date` if an annotation is one of them, or one of them or None; else None.

    Postponed annotations are text, as the file spells them: `date`, `datetime.date`, `"date"`, `int | None`.
    """
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    for mark in "|,[]'\"":
        text = text.replace(mark, " ")
    names = {word.rpartition(".")[2] for word in text.split()} - {"Optional", "Union", "None", "NoneType"}
    return names.pop() if len(names) == 1 and names <= {"int", "float", "bool", "date"} else None


class Mistake(Exception):
    """A mistake of the user's, shown as a message without a traceback."""


class Raised(Exception):
    """An exception of another process: its kind, its message, and its traceback as that process has written it."""

    def __init__(self, kind, message, text):
        super().__init__(message)
        self.kind, self.text = kind, text


def fresh_main(path):
    import types

    module = types.ModuleType("__main__")
    module.__file__ = path
    module.__builtins__ = __builtins__
    sys.modules["__main__"] = module
    return module


def problem(error):
    """Report an exception as data and print it as Python would, without the frames of this file."""
    if isinstance(error, MemoryError):
        RESERVE.clear()
    message = message_of(error)
    told = {"type": kind_of(error), "message": short(message, MESSAGE_LIMIT)}
    if isinstance(error, Mistake):
        text = f"sealrun: {message}\n"
    elif isinstance(error, Raised):
        told["type"], text = error.kind, error.text
    else:
        shown = pictured(error)
        text = formatted(error, shown, chain=True)
        if isinstance(error, ImportError) and "No module named" in message:
            text += (
                f"sealrun: it is not in {places()}; install its package "
                "with --with NAME or a requirements.txt in the source root, or choose a Python with --python\n"
            )
        if would_change_source(error):
            text += (
                "sealrun: a run cannot write to the source root; write files to keep to SEALRUN_OUTPUT_DIR, "
                "and others to TMPDIR\n"
            )
        told["causes"] = causes(error, shown)
    told["traceback"] = short(text, TRACEBACK_LIMIT)
    finish()
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except Exception:  # noqa: BLE001  # the target may have closed it, or put anything in its place
        pass
    report(json_text({"problem": told}))


def would_change_source(error):
    """Tell whether the kernel refused a change of the source root, which is the working directory."""
    import errno

    if not isinstance(error, OSError) or error.errno not in (errno.EACCES, errno.EROFS):
        return False
    if not isinstance(error.filename, str):
        return False
    root, path = os.getcwd(), os.path.abspath(error.filename)
    return path.startswith(root + os.sep) and (not os.path.lexists(path) or os.access(path, os.R_OK))


def kind_of(error):
    """Name its class as a traceback does."""
    kind = type(error)
    module = getattr(kind, "__module__", None)
    known = not isinstance(module, str) or module in ("builtins", "__main__")
    return kind.__qualname__ if known else f"{module}.{kind.__qualname__}"


def message_of(error):
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # the user's own __str__ may raise anything
        return "<exception str() failed>"


def causes(error, shown):
    """Describe related exceptions, nearest first: members of a group, causes and contexts."""
    found, seen, left = [], {id(error)}, [(error, shown)]
    while left:
        one, shown = left.pop(0)
        members = getattr(one, "exceptions", None)
        near = [(member, "member") for member in members] if isinstance(members, tuple) else []
        pictures = list(getattr(shown, "exceptions", None) or [None] * len(near))
        if one.__cause__ is not None:
            near.append((one.__cause__, "cause"))
            pictures.append(getattr(shown, "__cause__", None))
        elif one.__context__ is not None and not one.__suppress_context__:
            near.append((one.__context__, "context"))
            pictures.append(getattr(shown, "__context__", None))
        for (other, relation), picture in zip(near, pictures):
            if len(found) == CAUSES_LIMIT:
                return found
            if isinstance(other, BaseException) and id(other) not in seen:
                seen.add(id(other))
                left.append((other, picture))
                text = short(formatted(other, picture, chain=False), MESSAGE_LIMIT)
                message = short(message_of(other), MESSAGE_LIMIT)
                told = {"type": kind_of(other), "message": message, "traceback": text, "relation": relation}
                found.append(told)
    return found


def pictured(error):
    """Prepare an exception for printing: without our frames, and with paths relative to the source root.

    None if Python itself cannot: its chain is too long, or memory has run out.
    """
    try:
        import traceback

        shown = traceback.TracebackException.from_exception(error)
        root = os.path.join(os.getcwd(), "")
    except (RecursionError, MemoryError, OSError):
        return None
    left = [shown]
    while left:
        one = left.pop()
        if one is not None:
            clean(one, root)
            left += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]
    return shown


def formatted(error, shown, chain):
    try:
        if shown is not None:
            return "".join(shown.format(chain=chain))
    except (RecursionError, MemoryError):
        pass
    return f"{kind_of(error)}: {message_of(error)}\n"


def clean(shown, root):
    frames = shown.stack
    ours = [place for place, frame in enumerate(frames) if frame.filename == "<sealrun>"]
    del frames[: ours[-1] + 1 if ours else 0]
    while frames and of_module(frames[0].filename, "runpy"):
        del frames[0]
    # These are among the user's frames: what the user called.
    frames[:] = [frame for frame in frames if frame.filename != OBJECTS and not of_module(frame.filename, "importlib")]
    for frame in frames:
        if frame.filename.startswith(root):
            frame.filename = frame.filename[len(root) :]
    path = getattr(shown, "filename", None)  # of a SyntaxError: the file that does not parse
    if isinstance(path, str) and path.startswith(root):
        shown.filename = path[len(root) :]


def of_module(path, name):
    return path.startswith(f"<frozen {name}") or path == getattr(sys.modules.get(name), "__file__", None)


def short(text, limit):
    """Cut a text that is too long: its beginning and the number of characters left out, which the masker ends."""
    return text if len(text) <= limit else {"text": text[:limit], "left_out": len(text) - limit}


def result(value):
    """Return a returned value as JSON, or a note on what in it is not JSON."""
    try:
        return f'{{"result":{json_text(value)}}}'
    except Exception:  # noqa: BLE001  # what it holds may raise anything when it is looked at
        return json_text({"note": note(value)})


def note(value):
    import itertools

    said = f"the returned {type(value).__name__} was not stored"
    try:
        found = [f"{path} is {what}" for path, what in itertools.islice(unfit(value, "$", ()), UNFIT_SHOWN + 1)]
    except RecursionError:
        return f"{said}: it is nested too deeply"
    except Exception as error:  # noqa: BLE001  # the value is the user's, and may raise anything
        return f"{said}: looking through it raised {kind_of(error)}"
    more = ", and more" if len(found) > UNFIT_SHOWN else ""
    return (
        f"{said}, as it does not fit into JSON: {'; '.join(found[:UNFIT_SHOWN]) or 'it changes'}{more}. "
        "Return numbers, texts, lists and dicts, or write a file to SEALRUN_OUTPUT_DIR"
    )


def plain(value):
    """Turn dates and times (ISO 8601), decimals, UUIDs and paths into text for JSON."""
    import datetime
    import decimal
    import pathlib
    import uuid

    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID, pathlib.PurePath)):
        return str(value)
    raise TypeError


def unfit(value, path, above):
    """Yield path and description of everything that JSON cannot hold."""
    if value is None or isinstance(value, (bool, str)):
        return
    if isinstance(value, int):
        if value.bit_length() > 14_000:  # more digits than Python converts
            yield path, "an int of thousands of digits"
        return
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            yield path, f"the float {float(value)!r}"
        return
    if id(value) in above:
        yield path, f"the {type(value).__name__} that holds it"
    elif isinstance(value, dict):
        for key, member in value.items():
            if key is not None and not isinstance(key, (str, int, float, bool)):
                yield path, f"a dict with a key that is {an(key)}"
            else:
                inner = f"{path}.{key}" if isinstance(key, str) and key.isidentifier() else f"{path}[{json_text(key)}]"
                yield from unfit(member, inner, (*above, id(value)))
    elif isinstance(value, (list, tuple)):
        for place, member in enumerate(value):
            yield from unfit(member, f"{path}[{place}]", (*above, id(value)))
    else:
        try:
            plain(value)
        except Exception:  # noqa: BLE001  # the same
            yield path, an(value)


def an(value):
    """Name a value's class with its article."""
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def json_text(value):
    import json

    return json.dumps(value, allow_nan=False, default=plain)


def report(text):
    data = text.encode()
    try:
        while data:
            data = data[os.write(RESULT_FD, data) :]
        os.close(RESULT_FD)
    except OSError:
        pass


def finish():
    """Flush what the target printed; a closed pipe does not matter."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105  # a run does not pay for importing contextlib
            stream.flush()
        except Exception:  # noqa: BLE001  # the target may have put anything in its place
            pass


MESSAGE_LIMIT, TRACEBACK_LIMIT = 16 << 10, 128 << 10  # characters
CAUSES_LIMIT = 10
UNFIT_SHOWN = 3
IMPORT_FROM: list[str] = []  # folders of the source root's own package
OBJECTS = "<sealrun objects>"  # the name in tracebacks of modules that are brought as text
RESERVE = bytearray(8 << 20)  # freed to report a lack of memory; takes up none until it is written to
CALLS = {"file": run_file, "module": run_module, "function": run_function, "notebook": run_notebook}

main()
