"""What of a job is signed when a server accepts it, and what a worker holds its row against before it does anything.

As with runs, see `executor.runs.plans`: the signature stands in the row, and the bytes that it is over are made from
the row anew.
"""

import time
from collections.abc import Collection, Mapping
from typing import Any

from executor.boundary import plans
from executor.boundary.plans import Signer, SigningKey, canonical
from executor.errors import PlanRefused
from executor.models import Job

SIGNED = ("kind", "project_id", "project", "environment_id", "environment", "asked")
"""Columns that are in every plan beside the id and who asked: what is done, and to what."""

LIFE = 7 * 86400
"""Seconds that a plan is good for: who can write to the database can make a job that is over `pending` again."""


def plan(job: Job, key: SigningKey) -> dict[str, Any]:
    """Return what the row of a new job bears: until when it may be done, and the signature."""
    beside = {"until": int(time.time()) + LIFE}
    return beside | key.sign(plans.JOB, _content(job, beside))


def content_of(job: Job) -> str:
    """Return a job's plan as its row says it, in the form that is signed.

    Raises:
        PlanRefused: the row bears no plan, or nothing that could be one.
    """
    try:
        return _content(job, job.plan or {})
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
        raise PlanRefused(why="it bears no signature" if job.plan is None else "its row cannot be read") from None


def check(job: Job, signers: Collection[Signer]) -> None:
    """Insist that a server has accepted a job just as its row has it, where there are signers.

    Raises:
        PlanRefused: none of them has, or it was too long ago.
    """
    if not signers:
        return
    if plans.verify(signers, plans.JOB, content_of(job), job.plan)["until"] < time.time():
        raise PlanRefused(why="it was accepted too long ago")


def _content(job: Job, beside: Mapping[str, Any]) -> str:
    asked = {name: getattr(job, name) for name in SIGNED}
    return canonical({"job": job.id, "by": job.created_by, "asked": asked, "until": beside["until"]})
