"""The options of `run` and `secret explain`: made of the fields of RunRequest, and turned into one."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

import typer

from executor.cli.typed import completion, times
from executor.cli.typed.arguments import arguments_of, connections_of, pairs_of, secrets_named
from executor.errors import Misuse, RequestUnclear
from executor.schemas import run_request
from executor.schemas.amounts import AMOUNTS
from executor.schemas.asking import asked
from executor.schemas.run_request import RunRequest, Typed
from executor.submission import narrowing, target

_COMPLETED = {"project": completion.projects, "environment": completion.environments, "secrets": completion.secrets}

_ONLY_TYPED = {
    "no_secrets": Annotated[
        bool,
        typer.Option(
            "--no-secrets",
            help="Give no secrets; sources and catalogs that need one only if named with --source or --catalog.",
        ),
    ],
    "env_file": Annotated[
        str | None, typer.Option("--env-file", metavar="FILE", help="Plain variables from a file of KEY=VALUE lines.")
    ],
    "arg": Annotated[
        list[str] | None,
        typer.Option("--arg", metavar="NAME=TEXT", help="An argument of a function or notebook; repeatable."),
    ],
    "json_arg": Annotated[
        list[str] | None, typer.Option("--json-arg", metavar="NAME=JSON", help="An argument as JSON; repeatable.")
    ],
}
"""Further ways to type a field: no secrets, variables from a file, a function's arguments by name."""


@dataclass(frozen=True)
class RunOptions:
    """What was typed for the options of a run; None or False for what was not."""

    typed: Mapping[str, Any]

    def layers(self) -> list[tuple[str, dict[str, str]]]:
        """The plain variables of this run by where they were typed, a later one over an earlier one.

        Raises:
            Misuse, FileUnreadable, FileInvalid: one of them cannot be.
        """
        from executor.cli.typed.env_file import read_env_file  # its grammar takes a while to import

        typed = [("--env", pairs_of("--env", self.typed["variables"] or []))]
        if (file := self.typed["env_file"]) is not None:
            typed.insert(0, ("--env-file", read_env_file(file)))
        return typed

    def without_env_file(self) -> "RunOptions":
        """The same, as if no file had been named."""
        return RunOptions({**self.typed, "env_file": None})

    def request(self, words: list[str]) -> RunRequest:
        """What is asked for, with `words` as the target and its own words.

        Raises:
            Misuse, RequestUnclear, FileUnreadable, FileInvalid: it is not clear.
        """
        secrets = secrets_named(self.typed["secrets"], self.typed["no_secrets"])
        wanted = target.parse(words)
        text, values = arguments_of(wanted, self.typed["arg"] or [], self.typed["json_arg"] or [])
        fields = {name: self.typed[name] for name in run_request.options() if self.typed.get(name) not in (None, [])}
        for name, flag in (("sources", "--source"), ("catalogs", "--catalog")):
            fields[name] = connections_of(flag, self.typed[name] or [])
        self._check_limits()
        fields["variables"] = {name: value for _, pairs in self.layers() for name, value in pairs.items()}
        return asked(RunRequest, **fields | {"target": wanted, "text": text, "values": values, "secrets": secrets})

    def _check_limits(self) -> None:
        """Refuse what is no amount or no pattern by the name of its option."""
        try:
            for one in AMOUNTS:
                if (text := self.typed.get(one.name)) is not None:
                    one.read(text)
            narrowing.check_patterns(self.typed.get("collect") or (), "--collect")
        except RequestUnclear as error:
            raise Misuse("{said}", said=error.message, command="run") from None


def takes_run_options(*, to_explain: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a run: it gets what was typed as its argument `options`, a RunOptions.

    Args:
        to_explain: only those that change the names that a run finds.
    """

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        own = dict(inspect.signature(command, eval_str=True).parameters)
        del own["options"]
        of_run = {
            name: _annotation(
                name, typed, field.annotation, f"{'As for run: ' if to_explain else ''}{field.description}"
            )
            for name, (typed, field) in run_request.options().items()
            if typed.explained or not to_explain
        } | _ONLY_TYPED
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_default(of), annotation=of)
            for name, of in of_run.items()
        ]

        @functools.wraps(command)
        def typed_command(**given: Any) -> None:
            command(options=RunOptions({name: given.pop(name) for name in of_run}), **given)

        del typed_command.__wrapped__  # Typer is to read the signature below
        typed_command.__annotations__ = {}
        kept = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own.values()]
        # `inspect.signature`, and so Typer, takes it as PEP 362 has it; the type of a function does not know it.
        typed_command.__signature__ = inspect.Signature([*added, *kept])  # type: ignore[attr-defined]
        return typed_command

    return decorated


def _annotation(name: str, typed: Typed, kind: Any, said: str) -> Any:
    """An option as Typer reads it: a list or mapping is one that is repeated; what is not typed is None."""
    kinds = {*(get_args(kind) if NoneType in get_args(kind) else (kind,))} - {NoneType}
    (one,) = kinds & {str} or kinds  # what may be a number or a text is typed as a text
    if get_origin(one) in (Sequence, Mapping):
        one, said = list[str], said.removesuffix(".") + "; repeatable."
    takes_time = one is float  # nothing else that is typed is a fraction
    if takes_time:
        said = said.removesuffix(".") + " (or 5m, 1h30m)."
    option = typer.Option(
        *typed.flags,
        metavar=typed.values,
        help=said,
        min=typed.least,
        max=typed.most,
        autocompletion=_COMPLETED.get(name),
        parser=times.length if takes_time else None,
    )
    return Annotated[one | None, option]


def _default(annotation: Any) -> bool | None:
    return False if get_args(annotation)[0] is bool else None
