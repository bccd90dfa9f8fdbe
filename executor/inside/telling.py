"""Tell how a target ended: what it returned as JSON, or what it raised as data and as Python would print it.

The part of `entry` that looks at what the target leaves. All of that is the target's own: texts, attributes and members
may raise, or end the process, when they are looked at. Standard library only, any Python from 3.9.
"""

import os
import sys

RESULT_FD = 4
MESSAGE_LIMIT, TRACEBACK_LIMIT = 16 << 10, 128 << 10  # characters
CAUSES_LIMIT = 10
UNFIT_SHOWN = 3
IMPORT_FROM: list[str] = []  # folders of the source root's own package
OBJECTS = "<sealrun objects>"  # the name in tracebacks of modules that are brought as text
# Freed to report a lack of memory; it takes up none, as bytes, unlike a bytearray, are not written to when made.
RESERVE = [bytes(8 << 20)]
LIBRARY = os.path.join(os.path.dirname(os.__file__), "")
PROCESS, PIPE = os.getpid(), os.fstat(RESULT_FD)


def library(name):
    """Import a module of the standard library, also for a job with a file of that name, or of one that it imports."""
    if is_standard(sys.modules.get(name)):
        return sys.modules[name]
    path, theirs = sys.path[:], {}
    tops = {top for top, module in sys.modules.items() if "." not in top and not is_standard(module) and hides(top)}
    for other in [other for other in sys.modules if other.partition(".")[0] in tops]:
        theirs[other] = sys.modules.pop(other)
    sys.path[:] = [place for place in path if is_in_library(place)]
    try:
        __import__(name)
        return sys.modules[name]
    finally:
        sys.path[:] = path
        sys.modules.update(theirs)


def is_standard(module):
    """Tell whether it is a module of the standard library, or one built in."""
    return type(module) is type(sys) and is_in_library(getattr(module, "__file__", None) or LIBRARY)


def is_in_library(path):
    return os.path.join(path, "").startswith(LIBRARY) and "-packages" not in path


def hides(name):
    """Tell whether the standard library has such a module, too."""
    return os.path.exists(f"{LIBRARY}{name}.py") or os.path.isdir(LIBRARY + name)


class Mistake(Exception):
    """A mistake of the user's, shown as a message without a traceback."""


class Raised(Exception):
    """An exception of another process: its kind, its message, and its traceback as that process has written it."""

    def __init__(self, kind, message, text):
        super().__init__(message)
        self.kind, self.text = kind, text


def problem(error):
    """Report an exception as data and print it as Python would, without the frames of this program."""
    # First of all: the supervisor is to know of it even if one of its texts ends the process.
    report('{"problem":')
    try:
        if issubclass(type(error), MemoryError):
            RESERVE.clear()
        told, text = described(error)
    except BaseException:  # noqa: BLE001  # what can be looked at has been tried one by one
        kind = type.__dict__["__qualname__"].__get__(type(error))
        text = f"{kind}: {NO_TEXT}\n"
        told = {"type": kind, "message": NO_TEXT}
    told["traceback"] = short(text, TRACEBACK_LIMIT)
    finish()
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001  # the target may have closed it, or put anything in its place
        pass
    report(json_text(told) + "}")


def described(error):
    """Return an exception as data, and what is printed of it."""
    message = message_of(error)
    if type(error) is Mistake:
        return {"type": "Mistake", "message": short(message, MESSAGE_LIMIT)}, f"sealrun: {message}\n"
    told = {"type": kind_of(error), "message": short(message, MESSAGE_LIMIT)}
    if type(error) is Raised:
        return {**told, "type": error.kind}, error.text + hint(error.kind, message)
    shown = pictured(error)
    kind = "ModuleNotFoundError" if isinstance(error, ImportError) else ""
    text = formatted(error, shown, chain=True) + hint(kind, message)
    told["causes"] = found = []
    try:
        for cause in causes(error, shown):
            found.append(cause)
    except BaseException:  # noqa: BLE001  # those that were found before are told
        pass
    return told, text


def hint(kind, message):
    """Say what may help."""
    if kind == "ModuleNotFoundError" and "No module named" in message:
        return (
            f"sealrun: it is not in {places()}; install its package "
            "with --with NAME or a requirements.txt in the source root, or choose a Python with --python\n"
        )
    return ""


def places():
    """Say where modules are looked for."""
    root = os.getcwd()
    folders = [f"its folder {os.path.relpath(folder, root)}" for folder in IMPORT_FROM if folder != root]
    return " or in ".join(["the source root", *folders, f"this run's Python, {sys.executable}"])


def kind_of(error):
    """Name its class as a traceback does."""
    kind = type(error)
    module = getattr(kind, "__module__", None)
    known = not isinstance(module, str) or module in ("builtins", "__main__")
    return kind.__qualname__ if known else f"{module}.{kind.__qualname__}"


def message_of(error):
    try:
        return "".join([str(error)])  # of a class derived from str there is only the text
    except BaseException:  # noqa: BLE001  # the user's own __str__ may raise anything, SystemExit included
        return NO_TEXT


def causes(error, shown):
    """Describe related exceptions, nearest first: members of a group, causes and contexts."""
    count, seen, left = 0, {id(error)}, [(error, shown)]
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
            if count == CAUSES_LIMIT:
                return
            if isinstance(other, BaseException) and id(other) not in seen:
                seen.add(id(other))
                left.append((other, picture))
                count += 1
                text = short(formatted(other, picture, chain=False), MESSAGE_LIMIT)
                message = short(message_of(other), MESSAGE_LIMIT)
                yield {"type": kind_of(other), "message": message, "traceback": text, "relation": relation}


def pictured(error):
    """Prepare an exception for printing: without our frames, and with paths relative to the source root.

    None if Python itself cannot: its chain is too long, memory has run out, or it has odd attributes.
    """
    try:
        traceback = library("traceback")
        library("tokenize")  # which it imports when it looks for a line
        shown = traceback.TracebackException.from_exception(error)
        left = [shown]
        while left:
            one = left.pop()
            if one is not None:
                clean(one)
                left += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]
        return shown
    except BaseException:  # noqa: BLE001  # `__notes__` and the like may be properties of the user's
        return None


def formatted(error, shown, chain):
    """Return what Python prints of it; of one that Python cannot print, its frames and its last line."""
    last = f"{kind_of(error)}: {message_of(error)}\n"
    try:
        if shown is not None:
            return "".join(shown.format(chain=chain))
    except BaseException:  # noqa: BLE001  # a SyntaxError may have anything in the place of line and column
        pass
    try:
        traceback = library("traceback")
        frames = traceback.extract_tb(error.__traceback__)
        tidy(frames)
        return "".join(["Traceback (most recent call last):\n", *frames.format(), last])
    except BaseException:  # noqa: BLE001  # nor are there frames
        return last


def clean(shown):
    tidy(shown.stack)
    path = getattr(shown, "filename", None)  # of a SyntaxError: the file that does not parse
    if isinstance(path, str):
        shown.filename = from_root(path)


def tidy(frames):
    """Leave the user's frames alone, with paths from the source root on."""
    ours = [place for place, frame in enumerate(frames) if frame.filename == "<sealrun>"]
    del frames[: ours[-1] + 1 if ours else 0]
    while frames and of_module(frames[0].filename, "runpy"):
        del frames[0]
    # These are among the user's frames: what the user called.
    frames[:] = [frame for frame in frames if frame.filename != OBJECTS and not of_module(frame.filename, "importlib")]
    for frame in frames:
        frame.filename = from_root(frame.filename)


def from_root(path):
    try:
        root = os.path.join(os.getcwd(), "")
    except OSError:
        return path
    return path[len(root) :] if path.startswith(root) else path


def of_module(path, name):
    return path.startswith(f"<frozen {name}") or path == getattr(sys.modules.get(name), "__file__", None)


def short(text, limit):
    """Cut a text that is too long: its beginning and the number of characters left out, which the masker ends."""
    return text if len(text) <= limit else {"text": text[:limit], "left_out": len(text) - limit}


def result(value):
    """Return a returned value as JSON, with a note on what of it changes, or a note on what in it is not JSON."""
    try:
        text = json_text(value)
        if "{" in text:
            insist_on_one_value_per_key(text)
        said = f',"note":{json_text(REPLACED)}' if "\\ud" in text and not is_unicode(value) else ""
        return f'{{"result":{text}{said}}}'
    except BaseException:  # noqa: BLE001  # what it holds may raise anything when it is looked at
        return json_text({"note": note(value)})


def insist_on_one_value_per_key(text):
    """Raise ValueError where keys of one dict, such as 1 and "1", are the same in JSON: a value would get lost."""

    def check(pairs):
        if len(dict(pairs)) < len(pairs):
            raise ValueError

    library("json").loads(text, object_pairs_hook=check)


def is_unicode(value):
    """Tell whether all texts in it can be stored: no halves of characters, no bytes of a name that is not UTF-8."""
    try:
        library("json").dumps(value, ensure_ascii=False, default=plain).encode()
    except UnicodeEncodeError:
        return False
    return True


def note(value):
    said = f"the returned {type(value).__name__} was not stored"
    try:
        found = [
            f"{path} is {what}" for path, what in library("itertools").islice(unfit(value, "$", ()), UNFIT_SHOWN + 1)
        ]
    except RecursionError:
        return f"{said}: it is nested too deeply"
    except BaseException as error:  # noqa: BLE001  # the value is the user's, and may raise anything
        return f"{said}: looking through it raised {kind_of(error)}"
    more = ", and more" if len(found) > UNFIT_SHOWN else ""
    return (
        f"{said}, as it does not fit into JSON: {'; '.join(found[:UNFIT_SHOWN]) or 'it changes'}{more}. "
        "Return numbers, texts, lists and dicts, or write a file to SEALRUN_OUTPUT_DIR"
    )


def plain(value):
    """Turn dates and times (ISO 8601), decimals, UUIDs and paths into text for JSON."""
    datetime, decimal, pathlib, uuid = map(library, ("datetime", "decimal", "pathlib", "uuid"))
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
        yield from unfit_members(value, path, (*above, id(value)))
    elif isinstance(value, (list, tuple)):
        for place, member in enumerate(value):
            yield from unfit(member, f"{path}[{place}]", (*above, id(value)))
    else:
        try:
            plain(value)
        except Exception:  # noqa: BLE001  # the text of a class of the user's may raise anything
            yield path, an(value)


def unfit_members(value, path, above):
    names = set()
    for key, member in value.items():
        if key is not None and not isinstance(key, (str, int, float, bool)):
            yield path, f"a dict with a key that is {an(key)}"
            continue
        name = key if isinstance(key, str) else json_text(key)
        if name in names:
            yield path, f"a dict with two keys that are {json_text(name)} in JSON"
        names.add(name)
        inner = f"{path}.{key}" if isinstance(key, str) and key.isidentifier() else f"{path}[{json_text(key)}]"
        yield from unfit(member, inner, above)


def an(value):
    """Name a value's class with its article."""
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def json_text(value):
    return library("json").dumps(value, allow_nan=False, default=plain)


def report(text):
    """Write to the supervisor, as the run's own process: how a fork of it ends is not how the run ends."""
    data = text.encode()
    try:
        # The target may have closed the descriptor; its number may be a file of its own by now.
        while data and os.getpid() == PROCESS and os.path.samestat(os.fstat(RESULT_FD), PIPE):
            data = data[os.write(RESULT_FD, data) :]
    except OSError:
        pass


def finish():
    """Flush what the target printed; a closed pipe does not matter."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105  # a run does not pay for importing contextlib
            stream.flush()
        except BaseException:  # noqa: BLE001  # the target may have put anything in its place
            pass


NO_TEXT = "<exception str() failed>"
REPLACED = (
    "text in the result that is no Unicode, such as a file name that is not UTF-8, has U+FFFD where it could not be "
    "stored"
)
