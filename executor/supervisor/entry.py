"""Runs inside the run's own process and interpreter: takes its environment from a descriptor, then calls the target.

The one file of sealrun that enters a run. Standard library only, any Python from 3.9, and no import before the
environment is in place but those the interpreter has made already. It comes over descriptor 3, so it has no path in
the run's world.
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
    os.environ.clear()
    for name, value in document.pop("environment").items():
        os.environb[name] = value
    target = document["target"]
    os.set_inheritable(RESULT_FD, False)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)
    sys.path[0] = ""
    try:
        returned = CALLS[target["kind"]](target)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001  # KeyboardInterrupt and the like are outcomes, too
        problem(error, target)
        finish()
        sys.exit(1)
    if target["kind"] == "function":
        finish()
        report({"result": returned, **note(returned)})


def environment():
    """What the supervisor has written into memory meanwhile; closed before anything else can see it."""
    os.lseek(ENVIRONMENT_FD, 0, os.SEEK_SET)
    with os.fdopen(ENVIRONMENT_FD, "rb") as memory:
        return marshal.load(memory)


def run_file(target):
    """`python path.py ARGS`."""
    path = os.path.abspath(target["path"])
    sys.argv = [target["path"], *target["argv"]]
    sys.path[0] = os.path.dirname(path)
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    module = fresh_main(path)
    exec(code, module.__dict__)


def run_module(target):
    """`python -m pkg.module ARGS`, from the source root."""
    import runpy

    sys.path[0] = os.getcwd()
    sys.argv = [target["module"], *target["argv"]]
    runpy.run_module(target["module"], run_name="__main__", alter_sys=True)


def run_function(target):
    """`path.py:function` with arguments converted as the function's annotations say."""
    import importlib.util

    path = os.path.abspath(target["path"])
    sys.argv = [target["path"]]
    sys.path[0] = os.path.dirname(path)
    if os.getcwd() != sys.path[0]:
        sys.path.insert(1, os.getcwd())
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise Mistake(f"{target['path']} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    function = getattr(module, target["function"], None)
    if not callable(function):
        raise Mistake(f"{target['path']} has no function {target['function']}")
    returned = function(**arguments(function, target))
    if hasattr(returned, "__await__"):
        import asyncio

        returned = asyncio.run(awaited(returned))
    return returned


async def awaited(coroutine):
    """What an `async def` returns."""
    return await coroutine


def arguments(function, target):
    """Text arguments by annotation, JSON arguments as they are; unknown and missing names are told."""
    import inspect

    signature = inspect.signature(function)
    values = dict(target.get("json", {}))
    for name, text in target.get("text", {}).items():
        parameter = signature.parameters.get(name)
        values[name] = text if parameter is None else convert(name, text, parameter.annotation)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    unknown = [name for name in values if name not in signature.parameters and not takes_any]
    if unknown:
        raise Mistake(f"{target['function']}{signature} has no argument {', '.join(unknown)}")
    try:
        signature.bind(**values)
    except TypeError as error:
        raise Mistake(f"{target['function']}{signature}: {error}") from None
    return values


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
        raise Mistake(f"argument {name} is no {annotation}: {text!r}") from None
    return text


def known_type(annotation):
    """`int`, `float`, `bool` or `date`, where an annotation is one of them or one of them and None; else nothing.

    Postponed annotations are text, as the file spells them: `date`, `datetime.date`, `"date"`, `int | None`.
    """
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    for mark in "|,[]'\"":
        text = text.replace(mark, " ")
    names = {word.rpartition(".")[2] for word in text.split()} - {"Optional", "Union", "None", "NoneType"}
    return names.pop() if len(names) == 1 and names <= {"int", "float", "bool", "date"} else None


class Mistake(Exception):
    """What the user can mend; shown as a sentence, without frames."""


def fresh_main(path):
    import types

    module = types.ModuleType("__main__")
    module.__file__ = path
    module.__builtins__ = __builtins__
    sys.modules["__main__"] = module
    return module


def problem(error, target):
    """Report an exception as data and print it as Python would, without the frames of this file."""
    kind = type(error).__qualname__
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  # the user's own __str__ may raise anything
        message = ""
    if isinstance(error, Mistake):
        text = f"sealrun: {message}\n"
    else:
        text = formatted(error) or f"{kind}: {message}\n"
        if isinstance(error, ImportError) and "No module named" in message:
            text += (
                f"sealrun: this run's interpreter is {sys.executable}; "
                "choose another with --python PATH, or a .venv in the source root\n"
            )
    finish()
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except Exception:  # noqa: BLE001  # the target may have closed it, or put anything in its place
        pass
    report({"problem": {"type": kind, "message": message, "traceback": text}})


def formatted(error):
    import traceback

    try:
        return "".join(traceback.TracebackException.from_exception(strip(error)).format())
    except RecursionError:  # a chain too long for this Python
        return None


def strip(error):
    """Drop the frames of this file and of runpy from an exception and from those it was raised from."""
    seen, left = set(), [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        frame = one.__traceback__
        while frame is not None and hidden(frame.tb_frame):
            frame = frame.tb_next
        one.__traceback__ = frame
        left += [one.__cause__, one.__context__]
    return error


def hidden(frame):
    # Before 3.11 runpy is not frozen and has a path.
    return frame.f_code.co_filename in HIDDEN or frame.f_globals.get("__name__") == "runpy"


def note(value):
    """What could not be stored of a returned value, as a sentence; the value itself stays in the run."""
    import json

    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return {"result": None, "note": f"the returned {type(value).__name__} is not JSON: {type(error).__name__}"}
    return {}


def report(document):
    import json

    data = json.dumps(document, allow_nan=False, default=str).encode()
    try:
        while data:
            data = data[os.write(RESULT_FD, data) :]
        os.close(RESULT_FD)
    except OSError:
        pass


def finish():
    """Flush what the target printed; a closed pipe is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105  # a run does not pay for importing contextlib
            stream.flush()
        except Exception:  # noqa: BLE001  # the target may have put anything in its place
            pass


HIDDEN = {
    "<sealrun>",
    "<string>",
    "<frozen runpy>",
    "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>",
}
CALLS = {"file": run_file, "module": run_module, "function": run_function}

main()
