"""Take the run's environment from a descriptor, then call the target: runs in the run's own process and interpreter.

Standard library only, any Python from 3.9, and before the environment is in place only modules that the interpreter has
loaded anyway. It comes in memory, as descriptor 5, so the run needs no access to a file of sealrun.
"""

import marshal
import os
import sys

ENVIRONMENT_FD = 5
# What the bootstrap has put here, see `executor.supervisor.child`: the pipe for the byte that says go, where in its
# memory the environment begins, and the module `telling`.
source = globals()["source"]
begins = globals()["begins"]
telling = globals()["telling"]
Mistake = telling.Mistake


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
    os.set_inheritable(telling.RESULT_FD, False)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)
    sys.path[0] = ""
    telling.IMPORT_FROM[:] = target.get("import_from", ())
    sys.path += [folder for folder in telling.IMPORT_FROM if folder not in sys.path]
    try:
        if "objects" in document:
            target["json"].update(make_objects(document.pop("handles"), document.pop("objects")))
        returned = CALLS[target["kind"]](target)
    except SystemExit:
        if target["kind"] == "function":
            telling.report('{"result":null}')  # it has ended as it wanted to, and returned nothing
        raise
    except BaseException as error:  # noqa: BLE001  # KeyboardInterrupt and the like are outcomes, too
        telling.problem(error)
        telling.finish()
        raise SystemExit(1) from None
    if target["kind"] == "function":
        telling.finish()
        telling.report(telling.result(returned))


def environment():
    """Read what the supervisor has written into memory; close it before anything else can see it."""
    os.lseek(ENVIRONMENT_FD, begins, os.SEEK_SET)
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
    exec(compile(source, telling.OBJECTS, "exec"), module.__dict__)
    return module


def run_file(target):
    """Run as `python path.py ARGS`."""
    typed = target.get("typed", target["path"])
    path = os.path.join(os.getcwd(), typed)
    sys.argv = [typed, *target["argv"]]
    sys.orig_argv = [sys.executable, *sys.argv]
    sys.path[0] = os.path.dirname(os.path.realpath(path))
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
            raise Mistake(f"there is no module {target['module']} in {telling.places()}") from None
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


def run_function(target):
    """Call `path.py:function` with arguments converted as its annotations say."""
    util = telling.library("importlib.util")
    path = os.path.abspath(target["path"])
    sys.argv = [target["path"]]
    sys.path[0] = os.path.dirname(path)
    if os.getcwd() != sys.path[0]:
        sys.path.insert(1, os.getcwd())
    name = module_name(path)
    spec = util.spec_from_file_location(name, path)
    if spec is None:
        raise Mistake(f"{target['path']} is not a Python file")
    module = util.module_from_spec(spec)
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
    for folder in telling.IMPORT_FROM:
        parts = os.path.relpath(base, folder).split(os.sep)
        packages = [os.path.join(folder, *parts[:depth], "__init__.py") for depth in range(1, len(parts))]
        if packages and all(map(str.isidentifier, parts)) and all(map(os.path.exists, packages)):
            return ".".join(parts)
    return os.path.basename(base)


def run_notebook(target):
    """Execute a notebook's cells, with arguments as its parameters."""
    sys.argv, sys.path[0] = [target["path"]], os.path.dirname(os.path.abspath(target["path"]))
    runner = brought("sealrun_notebook", target.pop("runner"))
    runner.run(target, {"convert": convert, "Mistake": telling.Mistake, "Raised": telling.Raised})


def arguments(function, target):
    """Return positional and named arguments: text converted by annotation, JSON as it is.

    Raises:
        Mistake: the function does not take them.
    """
    inspect = telling.library("inspect")
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
    datetime = telling.library("datetime")
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


def fresh_main(path):
    sys.modules["__main__"] = module = type(sys)("__main__")
    loader = sys.modules["_frozen_importlib_external"].SourceFileLoader("__main__", path)
    module.__dict__.update(__file__=path, __loader__=loader, __cached__=None, __annotations__={})
    module.__builtins__ = __builtins__
    return module


CALLS = {"file": run_file, "module": run_module, "function": run_function, "notebook": run_notebook}

main()
