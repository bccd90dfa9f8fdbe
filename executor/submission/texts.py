"""What a request says can be stored, and given to a program: text in UTF-8, without NUL."""

import re
from collections.abc import Iterator, Mapping, Sequence

from executor.environment.variables import refuse_unfit, unfit
from executor.errors import RequestUnclear
from executor.schemas.order import Order
from executor.schemas.run_request import RunRequest

_ELSEWHERE = {"target", "variables", "values", "positional", "folder", "search_path"}
"""Fields with names of their own for their texts, JSON, which may hold any text, and what is only looked up."""


def check(request: RunRequest) -> None:
    """Refuse what no row or program can hold, before anything is looked up with it. No value is repeated.

    Raises:
        ValueRefused: of a variable.
        RequestUnclear: of anything else.
    """
    for name in request.variables:
        check_text("a name in variables", name)
    refuse_unfit(request.variables)
    for what, text in _texts(request):
        check_text(what, text)


def check_order(order: Order) -> None:
    """The same of an order that somebody has sent.

    Raises:
        ValueRefused, RequestUnclear: as of `check`.
    """
    for name in order.variables:
        check_text("a name in variables", name)
    refuse_unfit(order.variables)
    told = order.model_dump(exclude={"variables", "narrowed"})
    for name in ("json", "args"):  # JSON may hold any text
        told["target"].pop(name, None)
    for name in ("argv", "programs"):
        told["target"][name] = [re.sub("[\udc80-\udcff]", "?", word) for word in told["target"].get(name, ())]
    for what, text in _within("", told):
        check_text(what, text)


def check_text(what: str, text: str) -> None:
    """Refuse one text by what it is.

    Raises:
        RequestUnclear: it cannot be held.
    """
    if (why := unfit(text, "no program can be given")) is not None:
        hint = "give text in UTF-8, without NUL; what is no text can stand in a file that the run reads"
        raise RequestUnclear("{what} is refused: {why}", what=what, why=why, hint=hint)


def _texts(request: RunRequest) -> Iterator[tuple[str, str]]:
    """Each text with what it is."""
    target = request.target
    yield f"the {'file' if target.kind != 'command' else 'program'}", target.path or ""
    yield f"the {target.kind}", target.name
    bare = target.kind == "command" and target.path is None  # its first word is the program
    for number, word in enumerate(target.argv, 0 if bare else 1):
        # As the command line hands on what is no text, such as the name of an old file, byte by byte.
        yield "the program" if number == 0 else f"argument {number}", re.sub("[\udc80-\udcff]", "?", word)
    if request.folder is not None:
        yield "folder", str(request.folder)
    for field in (name for name in RunRequest.model_fields if name not in _ELSEWHERE):
        match getattr(request, field):
            case str() as text:
                yield field, text
            case Mapping() as members:
                for name, text in members.items():
                    yield f"a name in {field}", name
                    yield f"{field}[{name!r}]", text
            case Sequence() as words:
                for place, text in enumerate(words):
                    yield f"{field}[{place}]", text


def _within(what: str, value: object) -> Iterator[tuple[str, str]]:
    """Each text of a document, with where it stands."""
    match value:
        case str() as text:
            yield what, text
        case Mapping() as members:
            for name, member in members.items():
                yield f"a name in {what or 'the order'}", name
                yield from _within(f"{what}.{name}" if what else name, member)
        case Sequence() as members:
            for place, member in enumerate(members):
                yield from _within(f"{what}[{place}]", member)
