"""What a worker does for a command that cannot open a private key here: said, waited for, and shown."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from executor.cli.here import Here
from executor.cli.shown import screen
from executor.errors import KeyOperationFailed
from executor.operations import jobs
from executor.schemas.jobs import JobNamed, JobView
from executor.schemas.places import InEnvironment

_LOOK = 0.3  # seconds between two looks


def by_a_worker(
    place: Here, failed: KeyOperationFailed, where: InEnvironment, submit: Callable[[], JobView]
) -> Mapping[str, Any]:
    """Have a worker do what failed here for want of the key; what it did, once it has.

    Args:
        place: the command's surroundings.
        failed: why it was not done here.
        where: the environment.
        submit: submits the job.

    Raises:
        KeyOperationFailed: it failed for another reason, no live worker could do it either, or the worker could not.
    """
    if not failed.names.get("unopened") or not place.ask(jobs.serving, where).workers:
        raise failed
    job = submit()
    screen.say(f"not opened here: {failed.names['why']}")
    screen.say(f"a worker does it: job {job.id[:8]}, which goes on if this is interrupted")
    return wait(place, job)


def wait(place: Here, job: JobView) -> Mapping[str, Any]:
    """Wait for a job; what it did.

    Raises:
        KeyOperationFailed: it failed.
    """
    said = None
    while not job.over:
        if job.waiting_for is not None and job.waiting_for != said:
            said = job.waiting_for
            screen.say(f"job {job.id[:8]} waits: {said}", "yellow")
        time.sleep(_LOOK)
        job = place.ask(jobs.show, JobNamed(project=job.project, job=job.id))
    if job.state != "succeeded" or job.done is None:
        more = f"sealrun job show {job.id[:8]} -p {job.project}"
        raise KeyOperationFailed("job {job} failed: {why}", job=job.id[:8], why=job.message or job.reason, hint=more)
    return job.done
