"""The only writer of a run's state. Every write after the claim carries the fencing token, or changes nothing.

A run is accepted (`accepting`), claimed (`claims`), let through the gate (`gate`), finished, perhaps to be tried again
(`outcomes`); or cancelled, given up, or found lost (`settling`). What is asked of its row stands in `conditions`, what
it needs of a worker in `needs`, and who is left for one that a worker could not open in `refusals`.
"""

from executor.runs.accepting import Accepted, Refused, accept, accept_all
from executor.runs.claims import (
    Renewal,
    claim,
    end_delays,
    expected,
    next_of,
    renew,
    unclaimed,
)
from executor.runs.conditions import ATTEMPTS_LIMIT, claimable, unheld
from executor.runs.gate import close_setup, open_setup, pass_gate
from executor.runs.needs import suits
from executor.runs.outcomes import finish, give_back
from executor.runs.rows import guard
from executor.runs.settling import cancel, cancel_all, end_lost, give_up
from executor.runs.spec import LONGEST, RUNGS, GateShut, Lease, Offer, Outcome, StaleToken, storable

__all__ = [
    "ATTEMPTS_LIMIT", "LONGEST", "RUNGS", "Accepted", "GateShut", "Lease", "Offer", "Outcome", "Refused",
    "Renewal", "StaleToken", "accept", "accept_all", "cancel", "cancel_all", "claim", "claimable", "close_setup",
    "end_delays", "end_lost", "expected", "finish", "give_back", "give_up", "guard", "next_of", "open_setup",
    "pass_gate", "renew", "storable", "suits", "unclaimed", "unheld",
]  # fmt: skip
