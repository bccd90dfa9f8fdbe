"""A transaction on the driver's own connection: what every run and every submission does, many times a second.

SQLAlchemy builds and compiles its statements, once, and converts what goes in and comes out by its types; the driver
executes them. A Session and SQLAlchemy's own execution would take three times as long as SQLite itself does.

On PostgreSQL statements are sent without waiting for each other's answers (psycopg's pipeline mode). It is waited for
when an answer is looked at, and at the end: a transaction that asks first and looks then is two ways there and back.
"""

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Dialect, Engine, Executable, Insert
from sqlalchemy.exc import DBAPIError

_KEPT = 512  # statements, of which a worker that serves many queues has a hundred or two

Bound = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""What is bound to a statement; several are executed one after another."""


class Rows(Protocol):
    """What a statement answers."""

    def first(self) -> Any:
        """The first row, None if there is none."""

    def all(self) -> Sequence[Any]:
        """All of them."""


class Executing(Protocol):
    """What executes statements: SQLAlchemy's connection does, and a `Transaction`."""

    def execute(self, statement: Executable, parameters: Any = None, /) -> Any:
        """Execute a statement, which has `Rows` for its answer."""


class Reader(Protocol):
    """A `Transaction` or a Session: what is read by either."""

    def connection(self) -> Any:
        """What executes its statements, `Executing`."""


class Answer:
    """What a statement of a transaction answers, waited for when it is looked at."""

    __slots__ = ("_compiled", "_cursor", "_rows", "_transaction")

    def __init__(self, transaction: "Transaction", compiled: "_Compiled", cursor: Any) -> None:
        self._transaction, self._compiled, self._cursor = transaction, compiled, cursor
        self._rows: Sequence[Any] | None = None

    def first(self) -> Any:
        """The first row, None if there is none."""
        rows = self.all()
        return rows[0] if rows else None

    def all(self) -> Sequence[Any]:
        """All rows: tuples, with the columns' names."""
        if self._rows is None:
            with self._transaction.named_by_us():
                self._rows = self._compiled.rows(self._cursor)
            self._cursor = None
        return self._rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.all())


class Transaction:
    """Executes statements; it is committed or rolled back by whoever opened it."""

    def __init__(self, connection: Any, statements: "Statements") -> None:
        """`connection` is the driver's."""
        self.undone = False
        """Whether it is to be rolled back at its end, although nothing was raised."""
        self._connection, self._statements = connection, statements

    def connection(self) -> "Transaction":
        """Itself: what is read in a Session's transaction can be read in this one as well."""
        return self

    def undo(self) -> None:
        """Nothing of it is to be committed."""
        self.undone = True

    def execute(self, statement: Executable, parameters: Bound | None = None, /) -> Answer:
        """Execute a statement, or send it; of a list of values, once for each.

        Raises:
            DBAPIError: the database refuses it, or one that was sent before.
        """
        many: Sequence[Mapping[str, Any]] | None = None
        one: Mapping[str, Any] = {}
        if isinstance(parameters, Mapping):
            one = parameters
        elif parameters is not None:
            many, one = parameters, parameters[0]
        compiled = self._statements.compiled(statement, tuple(one))
        self._statements.tell(compiled.text, many is not None)
        cursor = self._connection.cursor()
        with self.named_by_us():
            if many is None:
                cursor.execute(compiled.text, compiled.bound(one))
            else:
                cursor.executemany(compiled.text, [compiled.bound(each) for each in many])
        answer = Answer(self, compiled, cursor)
        if self._statements.at_once and compiled.answers:
            answer.all()
        return answer

    @contextmanager
    def named_by_us(self) -> Iterator[None]:
        """Raise the driver's errors as SQLAlchemy names them."""
        with self._statements.errors():
            yield


class Statements:
    """The statements of a database, compiled; its threads share them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._driver_error: type[Exception] = engine.dialect.loaded_dbapi.Error
        self.at_once = engine.dialect.name == "sqlite"
        """Whether an answer is read at once: SQLite commits nothing while one waits to be read."""
        self.compiled: Callable[[Executable, tuple[str, ...]], _Compiled] = lru_cache(_KEPT)(self._compile)
        """A statement to which these names are bound."""

    @property
    def count(self) -> int:
        """How many were compiled."""
        return int(self.compiled.cache_info().misses)  # type: ignore[attr-defined]  # of the cache around it

    def tell(self, text: str, many: bool) -> None:
        """Tell whoever listens to the engine's statements, as SQLAlchemy would."""
        for listener in self._engine.dispatch.before_cursor_execute:
            listener(None, None, text, None, None, many)

    def commit(self, connection: Any) -> None:
        """Commit, or send it: at the end of a pipeline it is waited for, with whatever was sent before."""
        if self._engine.dialect.name == "sqlite":
            connection.commit()
        else:
            connection.execute("COMMIT", prepare=False)  # its own method would wait once more
        for listener in self._engine.dispatch.commit:
            listener(None)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise the driver's errors as SQLAlchemy names them, without what was bound."""
        try:
            yield
        except self._driver_error as problem:
            dialect = self._engine.dialect
            named = DBAPIError.instance(
                None,
                None,
                problem,
                self._driver_error,
                hide_parameters=True,
                dialect=dialect,
            )
            raise named from problem

    def broke(self, problem: BaseException, connection: Any) -> bool:
        """Whether this means that a connection is of no use any more."""
        if isinstance(problem, DBAPIError):
            problem = problem.orig or problem
        if not isinstance(problem, self._driver_error):
            return False
        dialect: Any = self._engine.dialect  # which takes what SQLAlchemy's own connection would give it
        return bool(dialect.is_disconnect(problem, connection, None))

    def _compile(self, statement: Executable, names: tuple[str, ...]) -> "_Compiled":
        return _Compiled(statement, names, self._engine.dialect)


class _Bind(NamedTuple):
    """Something that is bound: by its name, or as the statement has it."""

    name: str
    value: Any
    given: bool
    process: Callable[[Any], Any] | None

    def of(self, values: Mapping[str, Any]) -> Any:
        """What the driver gets of these values."""
        if not self.given:
            return self.value
        value = values[self.name]
        return value if self.process is None else self.process(value)


class _Compiled:
    """A statement as the driver takes it, with what converts its values and its rows by SQLAlchemy's types."""

    def __init__(self, statement: Any, names: tuple[str, ...], dialect: Dialect) -> None:
        """Have SQLAlchemy compile a statement.

        Raises:
            NotImplementedError: it needs more than its text: defaults that Python computes, lists to be IN.
        """
        self._columns = list(getattr(statement, "exported_columns", ()))  # of a SELECT, or of what has RETURNING
        # As for several rows, an INSERT does not ask for the key that it was given.
        more = {"for_executemany": True} if isinstance(statement, Insert) and not self._columns else {}
        compiled = statement.compile(dialect=dialect, column_keys=list(names) or None, **more)
        prefetched = [*getattr(compiled, "insert_prefetch", ()), *getattr(compiled, "update_prefetch", ())]
        if prefetched or compiled.post_compile_params or compiled.escaped_bind_names:
            raise NotImplementedError(f"a statement that the driver cannot execute as it is: {compiled}")
        self.text = str(compiled)
        self.answers = bool(self._columns)
        self._dialect = dialect
        self._positional = compiled.positional
        self._binds = [_bind(bind, name, names, dialect) for bind, name in compiled.bind_names.items()]
        if self._positional:
            places = {bind.name: bind for bind in self._binds}
            self._binds = [places[name] for name in compiled.positiontup]
        self._read: Callable[[Sequence[Any]], Any] | None = None

    def bound(self, values: Mapping[str, Any]) -> Any:
        """These values as the driver takes them."""
        if self._positional:
            return [bind.of(values) for bind in self._binds]
        return {bind.name: bind.of(values) for bind in self._binds}

    def rows(self, cursor: Any) -> list[Any]:
        """What the driver has found, as tuples with the columns' names."""
        found = cursor.fetchall()
        if self._read is None:
            self._read = self._reading([each[1] for each in cursor.description])
        return [self._read(row) for row in found]

    def _reading(self, kinds: Sequence[Any]) -> Callable[[Sequence[Any]], Any]:
        """What converts a row; `kinds` are the driver's words for the columns' types."""
        names = [column.key for column in self._columns]
        row: Any = namedtuple("row", names, rename=True)  # type: ignore[misc]  # known when it is built
        types = [column.type.dialect_impl(self._dialect) for column in self._columns]
        converting = [
            (place, convert)
            for place, (type_, kind) in enumerate(zip(types, kinds, strict=True))
            if (convert := type_.result_processor(self._dialect, kind)) is not None
        ]

        def read(found: Sequence[Any]) -> Any:
            values = list(found)
            for place, convert in converting:
                values[place] = convert(values[place])
            return row._make(values)

        return read


def _bind(bind: Any, name: str, names: tuple[str, ...], dialect: Dialect) -> _Bind:
    process = bind.type.dialect_impl(dialect).bind_processor(dialect)
    if name in names:
        return _Bind(name, None, True, process)
    if bind.required:
        raise NotImplementedError(f"nothing is bound to {name}")
    value = bind.effective_value
    return _Bind(name, value if process is None else process(value), False, None)


def pipelined(connection: Any) -> AbstractContextManager[Any]:
    """Where statements need not wait for each other's answers, if the driver can do that."""
    if not hasattr(connection, "pipeline") or not _can_pipeline():
        return nullcontext()
    found: AbstractContextManager[Any] = connection.pipeline()
    return found


@lru_cache
def _can_pipeline() -> bool:
    import psycopg

    return psycopg.Pipeline.is_supported()  # not by a libpq older than 14
