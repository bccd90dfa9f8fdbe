"""Runs inside the run's own process and interpreter: takes its environment from a descriptor, then calls the target.

The one file of sealrun that enters a run. Standard library only, any Python from 3.9, and no import before the
environment is in place but those the interpreter has made already. It is sent over descriptor 3, so it has no path in
the run's world.
"""

import marshal
import os
import sys

RESULT_FD = 4
source = globals().get("source")


def main():
    document = marshal.loads(source.read())
    source.close()
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
    return function(**arguments(function, target))


def arguments(function, target):
    """Text arguments by annotation, JSON arguments as they are; unknown and missing names are told."""
    import inspect

    signature = inspect.signature(function)
    values = dict(target.get("json", {}))
    for name, text in target.get("text", {}).items():
        parameter = signature.parameters.get(name)
        values[name] = text if parameter is None else convert(name, text, parameter.annotation)
    try:
        signature.bind(**values)
    except TypeError as error:
        raise Mistake(f"{target['function']}{signature}: {error}") from None
    return values


def convert(name, text, annotation):
    import datetime

    annotation = getattr(annotation, "__name__", annotation)
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
    import traceback

    kind = type(error).__qualname__
    if isinstance(error, Mistake):
        text = f"sealrun: {error}\n"
    else:
        text = "".join(traceback.TracebackException.from_exception(strip(error)).format())
        if isinstance(error, ImportError) and "No module named" in str(error):
            text += (
                f"sealrun: this run's interpreter is {sys.executable}; "
                "choose another with --python PATH, or a .venv in the source root\n"
            )
    try:
        sys.stdout.flush()
    finally:
        sys.stderr.write(text)
        sys.stderr.flush()
    report({"problem": {"type": kind, "message": str(error), "traceback": text}})


def strip(error, seen=None):
    """Drop the frames of this file and of runpy from an exception and from those it was raised from."""
    seen = seen or set()
    if error is None or id(error) in seen:
        return error
    seen.add(id(error))
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename in HIDDEN:
        frame = frame.tb_next
    error.__traceback__ = frame
    strip(error.__cause__, seen)
    strip(error.__context__, seen)
    return error


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
        except (OSError, ValueError):
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
