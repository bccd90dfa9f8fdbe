"""What the files say that a run is submitted with: where its source root is, its Python, what its target says."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from executor.errors import (
    FileUnreadable,
    PythonUnavailable,
    RequestUnclear,
    RequirementsRefused,
    SourceIsHome,
    SourceRefused,
    TargetUnusable,
)
from executor.python import requirements
from executor.python.choice import choose_interpreter, deciding, own_environment
from executor.schemas.run_request import RunRequest
from executor.schemas.target import Target
from executor.settings import Settings
from executor.source import git_state, packing
from executor.source.ignoring import FILES as IGNORE_FILES
from executor.source.package import package_of
from executor.source.packing import Listing, Packed
from executor.source.root import MARKS, ProjectFile, project_file, relative_target, source_root
from executor.source.sight import Watch, watch
from executor.submission import meant, notebook, signature
from executor.submission.context import current_folder, nearest_project_file
from executor.submission.programs import programs_of
from secretstore.errors import SealrunError

_KEPT_BYTES = 4 << 20
"""Of a source that is uploaded: a larger one is packed each time."""


@dataclass(frozen=True)
class Python:
    """A run's Python: a path, or a version, with an environment to build."""

    path: str | None = None
    version: str | None = None
    requirements: dict[str, Any] | None = None


class Files:
    """What the files of a request say, each looked at when it is first asked for. A refusal is raised each time."""

    def __init__(self, request: RunRequest, settings: Settings) -> None:
        """Nothing is looked at yet."""
        self._request = request
        self._settings = settings
        self.uploads = not settings.workers_see_files if request.bundle is None else request.bundle

    @cached_property
    def project_file(self) -> ProjectFile:
        """The nearest one."""
        return nearest_project_file(self._request.folder)

    @cached_property
    def located(self) -> tuple[Path, str | None]:
        """The source root, and the target's path relative to it.

        Raises:
            RequestUnclear: there is no such folder.
            TargetUnusable, SourceIsHome: there is no such target, or its root cannot be one.
        """
        return _located(self._here, self._request.target)

    @cached_property
    def root(self) -> Path | None:
        """The source root; None where there is none."""
        try:
            return self.located[0]
        except SealrunError:
            return None

    @property
    def path(self) -> str | None:
        """The target's, relative to the source root."""
        return self.located[1] if self.root is not None else None

    @cached_property
    def typed(self) -> str | None:
        """The same as it was typed, where that leads there from the source root."""
        return _as_typed(self.root, self.path, self._request.target.path, self.uploads)

    @cached_property
    def programs(self) -> list[str]:
        """Where a command's program is."""
        if self.uploads or self.root is None:
            return []
        return _programs(self._request.target, self.root, self._request)

    @cached_property
    def python(self) -> Python:
        """The run's Python.

        Raises:
            PythonUnavailable, RequirementsRefused, FileUnreadable: there is none, or it cannot be built.
        """
        return _python(self._request, self.root or self._here, self.path, self.uploads)

    def understood(self, document: dict[str, Any], python: Python) -> signature.Understood:
        """What the target's text certainly says, for this Python."""
        if self._understood is None:
            version = signature.version_of(python.path, python.version)
            self._understood = signature.understood(self.located[0], document, version)
        return self._understood

    _understood: signature.Understood | None = None

    @cached_property
    def package(self) -> dict[str, Any] | None:
        """What the source root installs as a package."""
        return package_of(self.located[0])

    @cached_property
    def upload(self) -> Listing | None:
        """What is uploaded, if anything is.

        Raises:
            SourceRefused, FileUnreadable: it cannot be.
        """
        return _to_upload(*self.located, self._settings.source_bytes) if self.uploads else None

    @cached_property
    def packed(self) -> Packed | None:
        """The same as an archive.

        Raises:
            SourceRefused: a file cannot be read, or has changed since it was listed.
        """
        return None if self.upload is None else packing.pack(self.upload)

    @cached_property
    def commit(self) -> git_state.GitState:
        """The source root's commit."""
        return git_state.git_state(self.located[0], _search_path(self._request))

    def watch(self) -> Watch | None:
        """What has to be watched to know that all of this is as it was; None where that would not do."""
        root, request = self.root, self._request
        if root is None or request.target.kind not in ("file", "function", "module"):
            return None
        if self.packed is not None and self.packed.size > _KEPT_BYTES:
            return None
        search_path = _search_path(request)
        of_git = git_state.deciding(root, search_path)
        of_python = [] if self.python.path is None else deciding(root, request.python, search_path)
        if of_git is None or of_python is None:
            return None
        return watch([*self._own(root), *of_git, *of_python], root)

    @cached_property
    def _here(self) -> Path:
        return self._request.folder or current_folder()

    def _own(self, root: Path) -> Iterator[Path]:
        request, here = self._request, self._here.resolve()
        yield self._here
        for place in dict.fromkeys((here, *here.parents, root, *root.parents)):
            yield from (place / name for name in (*MARKS, ".git", ".gitattributes", *IGNORE_FILES))
        if request.target.path is not None:
            yield from (self._here / request.target.path, root / (self.path or ""))
        yield root / ".venv/bin/python"
        beside = root
        if request.requirements_file is not None:
            beside = (self._here / request.requirements_file).parent
            yield self._here / request.requirements_file
        yield from (beside / name for name in (self.python.requirements or {}).get("files") or ())


def _located(here: Path, wanted: Target) -> tuple[Path, str | None]:
    if not here.is_dir():
        hint = "relative paths and the search for the source root begin there"
        raise RequestUnclear("there is no such folder: {folder}", folder=here, hint=hint)
    try:
        if wanted.path == "":
            raise TargetUnusable(
                "the file of the function {name} is missing", name=wanted.name, hint="path.py:function"
            )
        root = source_root(here, wanted.path)
    except TargetUnusable as unusable:
        if (line := _meant(here, wanted)) is not None:
            unusable.advise(f"did you mean: {line}")
        raise
    return root, relative_target(root, here, wanted.path) if wanted.path is not None else None


def _meant(here: Path, wanted: Target) -> str | None:
    """The line that works, where the target is something else than a file."""
    assert wanted.path is not None
    try:
        root = source_root(here, None)
    except SourceIsHome:
        root = here
    return meant.instead(here, root, wanted.path, wanted.name, wanted.argv) if "\0" not in wanted.path else None


def _as_typed(root: Path | None, path: str | None, typed: str | None, uploads: bool) -> str | None:
    """Return a target's path as it was typed, where it leads to the same file from the source root; else None.

    Of an upload only what is beneath its root by the same name is on the worker.
    """
    if root is None or path is None or typed is None:
        return None
    named = Path(os.path.normpath(root / typed))
    if uploads and (os.path.isabs(typed) or named != root / path):
        return None
    return typed if named.is_relative_to(root) and (root / typed).resolve() == root / path else None


def _programs(wanted: Target, root: Path, request: RunRequest) -> list[str]:
    if wanted.kind != "command" or wanted.path is not None:
        return []
    return programs_of(wanted.argv, root, _search_path(request))


def _to_upload(root: Path, target: str | None, limit: int) -> Listing:
    found = packing.listing(root, limit)
    if target is not None and not found.has(target):
        raise SourceRefused(
            "{path} is not uploaded: a .gitignore or .sealrunignore leaves it out, or it is in a folder that is "
            "never uploaded",
            path=target,
            hint=f"include it with a line in .sealrunignore (!{target}), or run from the folder itself: --no-bundle",
        )
    return found


def _search_path(request: RunRequest) -> str:
    return request.search_path or os.environ.get("PATH", os.defpath)


def _python(request: RunRequest, root: Path, path: str | None, uploads: bool) -> Python:
    """Decide a run's Python.

    A path is used as it is. Else, if something says what to install, an environment is built, be it of nothing; if only
    a version is asked for, an interpreter of it is used. For uploaded source, the worker chooses: a path of this
    machine means nothing.
    """
    asked = request.python
    version = asked if asked is not None and requirements.is_version(asked) else None
    if asked is not None and version is None:
        if uploads:
            raise PythonUnavailable(
                "{python} is an interpreter on this machine, but a run with uploaded source may start on another",
                python=asked,
                hint="name a version (--python 3.12), or run from the folder itself: --no-bundle",
            )
        if request.packages or request.requirements_file is not None:
            raise RequirementsRefused(
                "--python {python} is an interpreter, which is used as it is: no packages are installed for it",
                python=asked,
                hint="name a version (--python 3.12), and an environment is built for the packages",
            )
        chosen = _interpreter(request.target, root, asked, _search_path(request))
        notebook.check(request.target, chosen)
        return Python(chosen)
    document = _requirements(request, root, path, version, uploads)
    if request.target.kind == "notebook" and (document is not None or version is not None or uploads):
        document = notebook.with_packages(document)
    if document is not None:
        return Python(None, version, document)
    if version is not None or uploads:
        return Python(None, version)
    return _found(request, root)


def _found(request: RunRequest, root: Path) -> Python:
    """The `.venv` of the source root, else the submitter's own Python; for a notebook one that can execute it."""
    chosen = _interpreter(request.target, root, None, _search_path(request))
    if request.target.kind == "notebook" and own_environment(root) is None and notebook.lacking(chosen):
        return Python(None, None, notebook.with_packages(None))
    notebook.check(request.target, chosen)
    return Python(chosen)


def _requirements(
    request: RunRequest, root: Path, path: str | None, version: str | None, uploads: bool
) -> dict[str, Any] | None:
    """Find what to install: `--requirements`, else the target file's block, else the source's; and `--with`."""
    if request.requirements_file is not None:
        file = (request.folder or current_folder()) / request.requirements_file
        if not file.is_file():
            why = "it is a folder" if file.is_dir() else "no such file"
            raise FileUnreadable(path=request.requirements_file, why=why)
        return requirements.with_packages(requirements.from_file(file), request.packages)
    script = root / path if path is not None and request.target.kind != "command" else None
    found = requirements.of_script(script) if script is not None else None
    # A .venv in the source root comes before its requirements, unless something else is asked for or it is left behind.
    if found is None and not (
        own_environment(root) is not None and version is None and not request.packages and not uploads
    ):
        found = requirements.of_source(root, project_file(root).dependencies)
    return requirements.with_packages(found, request.packages) if found is not None or request.packages else None


def _interpreter(wanted: Target, root: Path, python: str | None, search_path: str) -> str | None:
    try:
        return choose_interpreter(root, python, search_path)
    except PythonUnavailable:
        if wanted.kind == "command" and python is None:
            return None
        raise
