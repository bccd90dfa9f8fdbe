"""What a run would see and an import would change: files and values stay here, names are asked for."""

from typing import TYPE_CHECKING

from executor.broker.doorbell import queues_of_this_slot
from executor.errors import WaitRefused
from executor.explain import import_plan
from executor.explain.import_plan import Plan
from executor.remote import routed
from executor.remote.submitting import uploading
from executor.schemas.explanation import Explain, Explanation, Foresee, Foreseen
from executor.schemas.importing import Import, There
from executor.schemas.places import InEnvironment
from executor.schemas.run_operations import ThatAttempt, ThatRun
from executor.schemas.runs import RunView
from executor.submission.explained import explained
from executor.submission.ordering import of_request

if TYPE_CHECKING:
    from executor.remote.server import Server
    from secretstore.views import ProjectView


def explain(server: "Server", asked: Explain) -> Explanation:
    """As `explanation.explain`."""
    made = of_request(server.settings, uploading(asked.run))
    foreseen: Foreseen = routed.ask(server, "explanation.foresee", Foresee(wanted=made.wanted, layers=asked.layers))
    return explained(made, foreseen)


def plan(server: "Server", asked: Import) -> Plan:
    """As `importing.plan`. Of a secret nothing is sent, not even its name."""
    place = InEnvironment(project=asked.project, environment=asked.environment)
    there: There = routed.ask(server, "importing.there", place)
    return import_plan.plan(asked, there)


def check_may_wait(server: "Server", asked: ThatRun) -> None:
    """As `workers.check_may_wait`."""
    if queues := queues_of_this_slot():
        run: RunView = routed.ask(server, "runs.show", ThatAttempt(run=asked.run))
        if run.queue in queues:
            raise WaitRefused(run=run.id[:8], queue=run.queue)


def destroy_due(server: "Server") -> "tuple[ProjectView, ...]":
    """As `projects.destroy_due`, which a server's workers see to."""
    return ()
