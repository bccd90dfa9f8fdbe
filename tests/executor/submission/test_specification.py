"""When the source is uploaded, and what is refused before it is: a mistake leaves nothing behind."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from executor.errors import PythonUnavailable, SourceRefused
from executor.keys.creation import birth
from executor.schemas.run_request import RunRequest
from executor.schemas.target import Target
from executor.settings import Settings, read_settings
from executor.submission.specification import examine, specify
from secretstore import vault
from secretstore.database import Database
from secretstore.key_files import create_local_key
from tests.executor.source.test_bundles import stored
from tests.executor.source.test_ignoring import write
from tests.rig import job_python

ACTOR = vault.Actor("tester", "test")
FAR = {"SEALRUN_BROKER_URL": "redis://broker/0", "SEALRUN_DATABASE_URL": "postgresql://db/x"}


class Place:
    """A project in a database, a folder of jobs, and settings to submit under."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.db, self.folder, self.jobs = db, folder, folder / "jobs"
        write(self.jobs, "job.py", "print(1)")
        self.home = {"SEALRUN_HOME": str(folder / "home")}
        settings = self.settings()
        for key_file in settings.store.key_files:
            create_local_key(key_file)
        vault.create_project(db, "shop", actor=ACTOR, birth=birth(settings))

    def settings(self, environ: Mapping[str, str] = {}) -> Settings:
        return read_settings({**self.home, **environ})

    def request(self, path: str = "job.py", **asked: Any) -> RunRequest:
        search_path = str(Path(job_python()).parent)
        target = Target("file", path=path)
        return RunRequest(
            target=target,
            project="shop",
            environment="default",
            folder=self.jobs,
            search_path=search_path,
            **asked,
        )


@pytest.fixture
def place(sqlite_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("HOME", "/nonexistent")
    (tmp_path / "home").mkdir(mode=0o700)
    yield Place(sqlite_db, tmp_path)


@pytest.mark.parametrize(
    ("environ", "uploads"),
    [
        ({}, False),
        ({"SEALRUN_DATABASE_URL": "postgresql://db/x"}, False),  # an embedded broker has its workers here
        ({"SEALRUN_BROKER_URL": "redis://broker/0"}, False),  # so has a SQLite file
        (FAR, True),
        ({**FAR, "SEALRUN_HOST": "mill"}, False),
    ],
)
def test_source_is_uploaded_where_workers_do_not_see_it(place: Place, environ: dict[str, str], uploads: bool) -> None:
    """And --bundle or --no-bundle stand over that."""
    settings = place.settings(environ)
    spec = specify(place.db, settings, place.request()).spec
    assert (spec.bundle is not None, spec.host) == (uploads, None if uploads else settings.host)
    for asked in (True, False):
        spec = specify(place.db, settings, place.request(bundle=asked)).spec
        assert (spec.bundle is not None, spec.host) == (asked, None if asked else settings.host)
    assert spec.source_root == str(place.jobs)


def test_an_uploaded_source_has_no_interpreter_of_this_machine(place: Place) -> None:
    """The worker chooses; a `.venv` in the folder is neither uploaded nor named, and a path is refused."""
    os.makedirs(place.jobs / ".venv/bin")
    (place.jobs / ".venv/bin/python").symlink_to(job_python())
    assert specify(place.db, place.settings(), place.request()).spec.python == str(place.jobs / ".venv/bin/python")
    assert specify(place.db, place.settings(), place.request(bundle=True)).spec.python is None
    with pytest.raises(PythonUnavailable, match="is an interpreter on this machine") as caught:
        specify(place.db, place.settings(), place.request(bundle=True, python=job_python()))
    assert caught.value.hint == "name a version (--python 3.12), or run from the folder itself: --no-bundle"


def test_what_is_refused_uploads_nothing(place: Place) -> None:
    """The upload is the last step of all; and to examine a request is no upload either."""
    write(place.jobs, "big.bin", b"x" * (2 << 20))
    write(place.jobs, "local/job.py")
    write(place.jobs, ".gitignore", "local/\n")
    settings = place.settings({"SEALRUN_SOURCE_LIMIT_MIB": "1"})
    seen = examine(place.db, settings, place.request(bundle=True, secrets=["GONE"]))
    assert [type(refusal).__name__ for refusal in seen.refusals] == ["UnknownSecret", "SourceRefused"]
    with pytest.raises(SourceRefused, match=r"big\.bin \(2 MiB\)"):
        specify(place.db, settings, place.request(bundle=True))
    specify(place.db, settings, place.request())  # a folder that is not uploaded may be as large as it likes
    write(place.jobs, ".sealrunignore", "*.bin\n")
    with pytest.raises(SourceRefused, match=r"local/job\.py is not uploaded") as caught:
        specify(place.db, settings, place.request("local/job.py", bundle=True))
    assert "!local/job.py" in (caught.value.hint or "")
    assert examine(place.db, settings, place.request(bundle=True)).refusals == ()
    assert stored(place.db) == (0, 0)
    specify(place.db, settings, place.request(bundle=True))
    assert stored(place.db) == (1, 1)


@pytest.mark.parametrize(
    ("here", "typed", "from_folder", "uploaded"),
    [
        ("", "job.py", None, None),
        ("", "./job.py", "./job.py", "./job.py"),
        ("", "deep/../job.py", "deep/../job.py", "deep/../job.py"),
        ("", "ROOT/job.py", "ROOT/job.py", None),  # there is no such folder on a worker that has a copy
        ("", "link.py", "link.py", None),
        ("", "ROOT/../link-out.py", None, None),
        ("deep", "../job.py", None, None),  # the run's working directory is the root
    ],
)
def test_a_path_is_kept_as_it_was_typed(
    place: Place, here: str, typed: str, from_folder: str | None, uploaded: str | None
) -> None:
    """Where it leads to the same file from the source root: that is what `sys.argv` has."""
    write(place.jobs, ".sealrun.toml")
    (place.jobs / "deep").mkdir()
    (place.jobs / "link.py").symlink_to("job.py")
    (place.folder / "link-out.py").symlink_to(place.jobs / "job.py")
    root = str(place.jobs)
    request = place.request(typed.replace("ROOT", root)).model_copy(update={"folder": place.jobs / here})
    for bundle, kept in ((False, from_folder), (True, uploaded)):
        spec = specify(place.db, place.settings(), request.model_copy(update={"bundle": bundle})).spec
        assert (spec.target["path"], spec.target.get("typed")) == ("job.py", kept and kept.replace("ROOT", root))


def test_a_commands_program_is_told_where_workers_see_it(place: Place, tmp_path: Path) -> None:
    """Not with an upload: a path of this machine means nothing there. A script in the source root needs no more."""
    write(place.jobs, "deep/dump.sh", "#!/bin/sh\n")
    (place.jobs / "deep/dump.sh").chmod(0o755)
    write(tmp_path, "bin/dbt", "#!/bin/sh\n")
    (tmp_path / "bin/dbt").chmod(0o755)
    search_path = f"{Path(job_python()).parent}:{tmp_path}/bin"

    def document(target: Target, bundle: bool) -> dict[str, Any]:
        asked = {"target": target, "bundle": bundle, "search_path": search_path}
        return specify(place.db, place.settings(), place.request().model_copy(update=asked)).spec.target

    command, script = Target("command", argv=("dbt", "run")), Target("command", "deep/dump.sh", argv=("x",))
    told = {"kind": "command", "argv": ["dbt", "run"]}
    assert document(command, False) == {**told, "programs": [f"{tmp_path}/bin/dbt"]}
    assert document(command, True) == told
    for bundle in (False, True):
        assert document(script, bundle) == {"kind": "command", "argv": ["deep/dump.sh", "x"]}


def test_the_commit_is_recorded(place: Place) -> None:
    """Of a folder as of an upload; here without a git to ask."""
    write(place.jobs, ".git/HEAD", "0123456789" * 4)
    (place.folder / "bin").mkdir()
    (place.folder / "bin/python3").symlink_to(job_python())
    for bundle in (True, False):
        request = place.request(bundle=bundle).model_copy(update={"search_path": str(place.folder / "bin")})
        spec = specify(place.db, place.settings(), request).spec
        assert (spec.source_commit, spec.source_dirty) == ("0123456789" * 4, None)
