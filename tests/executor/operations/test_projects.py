"""Projects and environments: who made them, what is refused, and what they leave."""

import stat

import pytest

from executor import runs
from executor.errors import RequestUnclear
from executor.models import RunSpec
from executor.operations import environments, projects
from executor.operations.deployment import Deployment
from executor.schemas.places import InEnvironment, InEnvironments
from executor.schemas.projects import NewProject, ProjectChange, ProjectDeletion
from secretstore import vault
from secretstore.errors import InUse, KeyFileMissing, NameRefused, UnknownEnvironment
from tests.executor.operations.conftest import WHO, Shop

STAGING = InEnvironment(project="shop", environment="staging")


def live_run(shop: Shop, environment: str) -> str:
    """A run that is not over."""
    place = vault.get_environment(shop.at.db, "shop", environment)
    spec = RunSpec(
        project_id=place.project_id,
        project="shop",
        environment_id=place.id,
        environment=environment,
        target={"kind": "command", "argv": ["true"]},
        source_root="/srv/shop",
        host="elsewhere",
    )
    return runs.accept(shop.at.db, spec, WHO.name).run_id


def test_who_asks_stands_in_the_record_and_the_rows(shop: Shop) -> None:
    """As it was passed in, with the door: this machine's user has nothing to do with it."""
    projects.set_(shop.at, WHO, ProjectChange(name="shop", max_running=3))
    environments.delete(shop.at, WHO, STAGING)
    events = shop.events()
    actions = ["project.create", "environment.create", "environment.create", "project.set", "environment.delete"]
    assert [event.action for event in events] == actions
    assert {(event.actor, event.origin) for event in events} == {(WHO.name, WHO.origin)}
    assert vault.get_project(shop.at.db, "shop").created_by == WHO.name


def test_what_is_there_is_not_made_again(shop: Shop) -> None:
    """The answer says what was made now; the keys that were there stay."""
    before = vault.list_keys(shop.at.db, "shop")
    again = projects.create(shop.at, WHO, NewProject(name="shop", environments=("staging", "prod")))
    assert (again.created, again.key_file) == (False, None)
    assert [(one.environment.name, one.created) for one in again.environments] == [("staging", False), ("prod", True)]
    assert [key for key in vault.list_keys(shop.at.db, "shop") if key.environment != "prod"] == before
    (listed,) = projects.list_(shop.at, WHO)
    assert listed.environments == ("default", "prod", "staging")


def test_what_is_made_is_known_to_who_made_it(shop: Shop) -> None:
    """Its key pair is remembered, and forgotten with the environment."""
    known = shop.at.pins.known("shop", "staging")
    assert known is not None
    assert known.fingerprint == vault.get_environment(shop.at.db, "shop", "staging").fingerprint
    environments.delete(shop.at, WHO, STAGING)
    assert shop.at.pins.known("shop", "staging") is None
    assert shop.at.pins.known("shop", "default") is not None
    projects.delete(shop.at, WHO, ProjectDeletion(name="shop"))
    assert shop.at.pins.known("shop", "default") is not None, "it may come back"
    projects.delete(shop.at, WHO, ProjectDeletion(name="shop", now=True))
    assert shop.at.pins.known("shop", "default") is None


def test_a_name_that_is_refused_makes_nothing(at: Deployment) -> None:
    """Not the project whose further environment cannot be, and no key file."""
    with pytest.raises(NameRefused):
        projects.create(at, WHO, NewProject(name="shop", environments=("No Name",)))
    assert projects.list_(at, WHO) == ()
    assert not (at.settings.store.home / "keys").exists()


def test_the_key_file_is_made_for_the_first_project_alone(shop: Shop) -> None:
    """One that is gone is not replaced: nothing that it wrapped would open."""
    assert stat.S_IMODE(shop.key_file.stat().st_mode) == 0o600
    shop.key_file.unlink()
    with pytest.raises(KeyFileMissing):
        projects.create(shop.at, WHO, NewProject(name="second"))
    assert not shop.key_file.exists()
    assert [project.name for project in projects.list_(shop.at, WHO)] == ["shop"]


def test_runs_that_are_not_over_keep_project_and_environment_from_destruction(shop: Shop) -> None:
    """The check and the act refuse alike, and nothing is written."""
    run_id = live_run(shop, "staging")
    before = shop.events()
    whole = ProjectDeletion(name="shop", now=True)
    for refused in (projects.require_deletable, projects.delete):
        with pytest.raises(InUse, match='project "shop" has unfinished runs: 1'):
            refused(shop.at, WHO, whole)
    for refused_one in (environments.require_deletable, environments.delete):
        with pytest.raises(InUse, match='environment "staging" of project "shop" has unfinished runs: 1'):
            refused_one(shop.at, WHO, STAGING)
    assert shop.events() == before
    environments.require_deletable(shop.at, WHO, InEnvironment(project="shop", environment="default"))
    runs.cancel(shop.at.db, run_id, WHO.name)
    projects.delete(shop.at, WHO, whole)


def test_a_queue_goes_with_its_environment(shop: Shop) -> None:
    """Without it nothing of the change is written."""
    before = shop.events()
    with pytest.raises(RequestUnclear):
        projects.set_(shop.at, WHO, ProjectChange(name="shop", queue="heavy", max_running=3))
    assert shop.events() == before


def test_environments_are_looked_up_before_anything_is_typed(shop: Shop) -> None:
    """All of them are there, or the one that is not is named."""
    environments.require(shop.at, WHO, InEnvironments(project="shop", environments=("default", "staging")))
    with pytest.raises(UnknownEnvironment, match="prod"):
        environments.require(shop.at, WHO, InEnvironments(project="shop", environments=("default", "prod")))
