"""How a command line comes to a token of its own, and what a caller learns of itself."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from executor.api import asking
from executor.api.pages.showing import address
from executor.api.problems import PROBLEMS
from executor.people import device, loopback, throttle, tokens
from executor.schemas.people import NewTokenView
from secretstore.audit import Actor
from secretstore.database import Database

DEVICE, DEVICE_TOKEN, CODE, ME, MY_TOKEN = "/device", "/device/token", "/log-in/code", "/me", "/me/token"
OPEN = (DEVICE, DEVICE_TOKEN, CODE)
"""Paths that need nobody: what they take is a secret of its own."""

Opaque = Annotated[str, Field(min_length=1, max_length=200)]


class Host(BaseModel):
    """What a command line calls its machine: whoever lets it in is shown this."""

    host: Annotated[str, Field(min_length=1, max_length=255)]


class BegunDevice(BaseModel):
    """The code to show, where to type it, and the secret with which to ask for the answer, every so many seconds."""

    code: str
    url: str
    secret: str
    seconds: int
    poll_seconds: int


class DeviceSecret(BaseModel):
    """The secret of a device code."""

    secret: Opaque


class Code(BaseModel):
    """The code that a browser brought to loopback, and the verifier of its challenge."""

    code: Opaque
    verifier: Opaque


class Granted(BaseModel):
    """A token for a command line; without one nobody has agreed so far."""

    state: Literal["waiting", "agreed", "over"]
    given: NewTokenView | None = None


class Granting(BaseModel):
    """Verbs at a place, and everywhere in it; without a project in the installation."""

    project_id: str | None
    environment_id: str | None
    verbs: list[str]


class Me(BaseModel):
    """Who asks, how that is known, and what they may do."""

    kind: str
    name: str
    way: str
    grants: list[Granting]


def router(db: Database, url: str) -> APIRouter:
    """The routes of entry."""
    made = APIRouter(tags=["entry"], responses=dict(PROBLEMS))

    @made.post(DEVICE, operation_id="device.begin")
    def begin(request: Request, host: Host) -> BegunDevice:
        """Begin a log-in whose code a person types into a browser that is logged in."""
        throttle.take(db, (throttle.CODE_FROM_ADDRESS, throttle.site_of(address(request))))
        begun = device.begin(db, host.host, address(request))
        return BegunDevice(
            code=begun.shown,
            url=f"{url}/device",
            secret=begun.secret,
            seconds=begun.seconds,
            poll_seconds=begun.poll_seconds,
        )

    @made.post(DEVICE_TOKEN, operation_id="device.token")
    def poll(request: Request, asked: DeviceSecret) -> Granted:
        """What became of a device code: once somebody has agreed, a token, which is shown this once."""
        polled = device.poll(db, asked.secret)
        if polled.state != "agreed" or polled.account_id is None:
            return Granted(state=polled.state)
        return Granted(state="agreed", given=_token(db, polled.account_id, polled.host, request))

    @made.post(CODE, operation_id="log-in.code")
    def spend(request: Request, asked: Code) -> Granted:
        """The token for a code that a browser brought to loopback."""
        account_id, host = loopback.spend(db, asked.code, asked.verifier)
        return Granted(state="agreed", given=_token(db, account_id, host, request))

    @made.get(ME, operation_id="me.show")
    def me(request: Request) -> Me:
        """Who asks."""
        who = asking.principal_of(request)
        grants = [
            Granting(
                project_id=grant.project_id or None,
                environment_id=grant.environment_id or None,
                verbs=sorted(grant.verbs),
            )
            for grant in who.grants
        ]
        return Me(kind=who.kind, name=who.name, way=who.way, grants=grants)

    @made.delete(MY_TOKEN, operation_id="me.log-out", status_code=204)
    def log_out(request: Request) -> Response:
        """End the token that asks: what `sealrun logout` does."""
        who = asking.principal_of(request)
        if who.credential is not None:
            actor = who.as_actor(asking.ORIGIN, request=request.scope["state"]["request_id"])
            tokens.revoke(db, who.credential, actor=actor, by=who)
        return Response(status_code=204)

    return made


def _token(db: Database, account_id: str, host: str, request: Request) -> NewTokenView:
    actor = Actor(host, asking.ORIGIN, request.scope["state"]["request_id"])
    return tokens.create_for_log_in(db, account_id, f"command line on {host}"[:100], actor=actor)
