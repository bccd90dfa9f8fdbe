"""What is set of an environment beside its secrets."""

import pytest

from secretstore import audit_reading, vault
from secretstore.database import Database
from secretstore.errors import NameRefused, UnknownEnvironment
from secretstore.vault import Actor


def test_an_environment_can_have_a_queue_of_its_own(shop: Database, actor: Actor) -> None:
    """It is kept, shown, taken back, and recorded; the other environments are left alone."""
    assert vault.get_environment(shop, "shop", "staging").queue is None
    assert vault.set_environment(shop, "shop", "staging", queue="slow.jobs-1", actor=actor).queue == "slow.jobs-1"
    queues = {view.name: view.queue for view in vault.list_environments(shop, "shop")}
    assert queues == {"default": None, "staging": "slow.jobs-1"}
    last = audit_reading.list_events(shop, "shop")[-1]
    assert (last.action, last.subject, last.detail) == ("environment.set", "staging", '{"queue": "slow.jobs-1"}')
    assert vault.set_environment(shop, "shop", "staging", queue=None, actor=actor).queue is None


@pytest.mark.parametrize("queue", ["", ".hidden", "a b", "q" * 64, "queue\n", "a,b"])
def test_a_queue_that_no_worker_could_be_told_is_refused(shop: Database, actor: Actor, queue: str) -> None:
    """`sealrun worker -Q` parts names by commas; nothing is changed and nothing recorded."""
    before = audit_reading.list_events(shop, "shop")
    with pytest.raises(NameRefused, match="a queue name has"):
        vault.set_environment(shop, "shop", "staging", queue=queue, actor=actor)
    assert vault.get_environment(shop, "shop", "staging").queue is None
    assert audit_reading.list_events(shop, "shop") == before


def test_an_unknown_environment_has_no_queue(shop: Database, actor: Actor) -> None:
    """The hint says which there are."""
    with pytest.raises(UnknownEnvironment) as refusal:
        vault.set_environment(shop, "shop", "prod", queue="slow", actor=actor)
    assert refusal.value.hint == "the project has default, staging"
