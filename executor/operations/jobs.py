"""Jobs: what workers do for those who cannot open a private key, shown. They are submitted beside what they do."""

from collections.abc import Sequence

from executor.jobs import reading
from executor.operations.deployment import Deployment
from executor.people.sight import Sight
from executor.schemas.jobs import JobNamed, Jobs, JobServing, JobView
from executor.schemas.places import InEnvironment
from secretstore.audit import Actor


def show(at: Deployment, who: Actor, asked: JobNamed) -> JobView:
    """A job, what came of it, and its receipts: which private keys were unwrapped for it, and which versions opened.

    Raises:
        UnknownProject: there is no such project.
        UnknownJob: it has no such job.
    """
    return reading.show(at.db, asked.project, asked.job, Sight.of(who, "see"))


def list_(at: Deployment, who: Actor, asked: Jobs) -> Sequence[JobView]:
    """A project's jobs, the latest first, without their receipts.

    Raises:
        UnknownProject: there is no such project.
    """
    return reading.list_jobs(at.db, asked.project, asked.environment, asked.limit, Sight.of(who, "see"))


def serving(at: Deployment, who: Actor, asked: InEnvironment) -> JobServing:
    """The live workers that could do a job of an environment, and what is missing where there is none.

    Raises:
        UnknownProject, UnknownEnvironment: there is no such place.
    """
    return reading.serving(at.db, asked.project, asked.environment)
