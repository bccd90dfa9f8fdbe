"""A server that has the public half of a key alone, and what its workers do with jobs."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col

from executor.boundary.plans import SigningKey
from executor.boundary.supervision import Zygote
from executor.jobs import claims
from executor.models import Job
from executor.operations import jobs as operations
from executor.operations import keys, projects, secrets
from executor.operations.deployment import Deployment
from executor.runs import Offer, workers
from executor.schemas.jobs import JobNamed, JobView
from executor.schemas.keys import KeyRotation
from executor.schemas.projects import NewProject
from executor.schemas.secrets import NewSecret, SecretRename
from executor.settings import Settings, read_settings
from executor.worker.jobs import Jobs
from executor.worker.openings import Openings
from secretstore import audit, audit_reading, vault
from secretstore.audit import Actor
from secretstore.database import Database
from secretstore.key_files import create_local_key
from secretstore.key_service import KeyAccess
from secretstore.local_keys import LocalKeys
from secretstore.reveal import reveal
from tests.processes import eventually

WHO = Actor("ada@elsewhere", "a door")
VALUE = b"hunter2-prod-key-8841"


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """A worker's."""
    started = Zygote()
    started.start()
    yield started
    started.stop()


class Crew:
    """A server that has the public half alone, and workers that may have the key file."""

    def __init__(self, db: Database, folder: Path, zygote: Zygote) -> None:
        self.db, self.folder, self.zygote = db, folder, zygote
        self.key_file = folder / "home" / "keys" / "local.key"
        create_local_key(self.key_file)
        self.server = Deployment(self.settings(f"local:{self.key_file.with_suffix('.pub')}"), db)

    def settings(self, keys: str) -> Settings:
        url = self.db.engine.url.render_as_string(hide_password=False)
        environ = {"SEALRUN_HOME": str(self.folder / "home"), "SEALRUN_DATABASE_URL": url, "SEALRUN_KEYS": keys}
        return read_settings(environ)

    def worker(self, name: str = "w1", keys: str | None = None, *, live: bool = False) -> Jobs:
        """What a worker of these key services does with jobs; `live` if others are to know of it."""
        settings = self.settings(keys or f"local:{self.key_file}")
        store = settings.store
        openings = Openings(store, lambda: self.zygote.offered(KeyAccess(store.keys)))
        fixed = Offer(name, "here", ("sealrun",), "landlock", key_services=openings.key_services)
        if live:
            workers.appear(self.db, fixed, 1, 1)
        storage = SimpleNamespace(failed=lambda problem: None)
        more = {"settings": settings, "db": self.db, "zygote": self.zygote, "storage": storage}
        return Jobs(_Worker(fixed=fixed, openings=openings, stopping=threading.Event(), **more))  # type: ignore[arg-type]

    def insistent(self, key: SigningKey, zygote: Zygote | None = None) -> Jobs:
        """A worker that does what this server has accepted; its zygote insists on that where it is one that does."""
        made = self.worker()
        made._worker.settings = replace(made._worker.settings, signers=(key.signer,))
        made._worker.zygote = zygote or self.zygote
        return made

    def sign(self, key: SigningKey) -> None:
        """The server signs from now on."""
        vars(self.server)["signing_key"] = key

    def forge(self, job: JobView, **values: Any) -> None:
        """Write a job's row past the product."""
        with self.db.writing() as session:
            session.exec(update(Job).where(col(Job.id) == job.id).values(**values))

    def do(self, worker: Jobs) -> None:
        """Let a worker look once, and do what it takes."""
        worker.look(takes=True)
        eventually(lambda: not worker.busy, 120, "the job ends")

    def show(self, job: JobView) -> JobView:
        return operations.show(self.server, WHO, JobNamed(project="shop", job=job.id[:12]))

    def rotation(self) -> JobView:
        return keys.submit_rotation(self.server, WHO, KeyRotation(project="shop", environment="default"))

    def renaming(self, new: str = "TOKEN", name: str = "API_KEY") -> JobView:
        asked = SecretRename(project="shop", environment="default", name=name, new=new)
        return secrets.submit_rename(self.server, WHO, asked)

    def claimed(self, worker: str, seconds: float) -> tuple[Job, claims.JobLease]:
        """The job, taken by a worker that is gone where its lease is over already."""
        offer = Offer(worker, "here", ("sealrun",), "landlock")
        taken = claims.claim(self.db, offer, seconds)
        assert taken is not None
        return taken

    def opened(self) -> dict[str, bytes]:
        place = vault.get_environment(self.db, "shop", "default")
        with self.db.writing() as session:
            bundle = vault.sealed_bundle(session, place.id, None)
        return {item.name: value for item, value in reveal(LocalKeys(self.key_file), bundle)}

    def events(self, *actions: str) -> list[tuple[str, str, str, dict[str, Any]]]:
        audit.link_waiting(self.db)
        return [
            (one.action, one.actor, one.origin, json.loads(one.detail))
            for one in audit_reading.list_events(self.db, "shop")
            if one.action in actions
        ]

    def generations(self) -> list[tuple[int, str]]:
        return [(view.generation, view.state) for view in vault.list_keys(self.db, "shop", "default")]


class _Worker(SimpleNamespace):
    @property
    def offer(self) -> Offer:
        return replace(self.fixed, key_services=self.openings.key_services, refused=tuple(self.openings.refused))


@pytest.fixture
def crew(db: Database, tmp_path: Path, zygote: Zygote) -> Crew:
    """A project that the server made, with a secret in two versions."""
    made = Crew(db, tmp_path, zygote)
    projects.create(made.server, WHO, NewProject(name="shop"))
    for value in (b"an-older-value-of-it", VALUE):
        asked = NewSecret(project="shop", environments=("default",), name="API_KEY", value=value)
        secrets.set_(made.server, WHO, asked)
    return made


@pytest.fixture
def one_crew(sqlite_db: Database, tmp_path: Path, zygote: Zygote) -> Crew:
    """The same on SQLite alone, for what does not depend on the kind of database."""
    made = Crew(sqlite_db, tmp_path, zygote)
    projects.create(made.server, WHO, NewProject(name="shop"))
    secrets.set_(made.server, WHO, NewSecret(project="shop", environments=("default",), name="API_KEY", value=VALUE))
    return made
