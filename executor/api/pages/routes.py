"""The pages' routes: log-in and log-out, the first admin, device codes, and a command line beside the browser."""

import re
from functools import partial
from typing import Any
from urllib.parse import urlencode

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from executor.api import cookies
from executor.api.oidc import Provider
from executor.api.pages.showing import address, form, go, page, person, text
from executor.errors import CredentialAsked, Forbidden, ProviderRefused, RequestUnclear
from executor.people import device, links, logging_in, loopback, oidc_states, sessions
from executor.people.opaque import new_opaque
from executor.people.principal import Principal
from executor.people.sessions import NewSession
from executor.people.tokens import LOG_IN_DAYS
from executor.server_settings import is_loopback
from secretstore.audit import Actor
from secretstore.database import Database
from secretstore.errors import SealrunError

ORIGIN = "console"
HASHING = CapacityLimiter(4)
"""Passwords that are hashed at once: each takes 64 MiB and as much of a CPU as there is."""

_PORT = re.compile(r"[0-9]{4,5}")
_STATE = re.compile(r"[A-Za-z0-9_-]{16,128}")


def router(db: Database, origin: str, provider: Provider | None) -> APIRouter:
    """Every page."""
    made = APIRouter(include_in_schema=False)
    _log_in(made, db, origin, provider)
    _first_admin(made, db, origin)
    _device(made, db, origin)
    _command_line(made, db, origin)
    if provider is not None:
        _provider(made, db, provider)
    return made


def _log_in(made: APIRouter, db: Database, origin: str, provider: Provider | None) -> None:
    def shown(return_to: str, name: str = "", refused: SealrunError | None = None, again: bool = False) -> Response:
        with_ = provider.name if provider is not None else None
        status = refused.status if refused is not None else 200
        more: dict[str, Any] = {"provider": with_, "return_to": return_to, "name": name, "again": again}
        return page("log_in.html", "Log in", status, refused, **more)

    @made.get("/")
    async def home(request: Request) -> Response:
        who = await person(request, db)
        if who is None:
            return go("/log-in")
        return page("said.html", "You are logged in", said=f"You are {who.name}.", principal=who)

    @made.get("/log-in")
    async def ask(request: Request) -> Response:
        who = await person(request, db)
        again = "again" in request.query_params
        return shown(_return_to(request), who.name if who is not None and again else "", again=again)

    @made.post("/log-in")
    async def log_in(request: Request) -> Response:
        fields = await form(request, origin)
        return_to, name = oidc_states.local_path(text(fields, "return_to")), text(fields, "name").strip()
        try:
            replaced = cookies.read(request.headers, cookies.SESSION)
            given = name, text(fields, "password"), address(request)
            log_in_here = partial(logging_in.log_in, db, *given, origin=ORIGIN, replaced=replaced)
            new = await to_thread.run_sync(log_in_here, limiter=HASHING)
        except SealrunError as refused:
            return shown(return_to, name, refused)
        return _in(new, return_to)

    @made.post("/log-out")
    async def log_out(request: Request) -> Response:
        await form(request, origin)
        await run_in_threadpool(sessions.end, db, cookies.read(request.headers, cookies.SESSION))
        answer = go("/log-in")
        cookies.take_away(answer, cookies.SESSION)
        return answer


def _provider(made: APIRouter, db: Database, provider: Provider) -> None:
    @made.get("/log-in/provider")
    async def begin(request: Request) -> Response:
        browser = new_opaque()
        awaited = await run_in_threadpool(oidc_states.begin, db, browser, provider.settings.issuer, _return_to(request))
        answer = RedirectResponse(await run_in_threadpool(provider.log_in_url, awaited), 303)
        cookies.give(answer, cookies.BEFORE, browser, oidc_states.MINUTES * 60)
        return answer

    @made.get("/log-in/callback")
    async def come_back(request: Request) -> Response:
        browser = cookies.read(request.headers, cookies.BEFORE)
        given = request.query_params
        replaced = cookies.read(request.headers, cookies.SESSION)

        def log_in() -> tuple[NewSession, str]:
            awaited = oidc_states.take(db, given.get("state", ""), browser)
            if given.get("iss", awaited.issuer) != awaited.issuer:  # RFC 9207: a mix-up of two providers
                raise ProviderRefused("this came back from another provider than it was sent to")
            found = provider.person(awaited, given.get("code", ""))
            who = found.subject, found.name, found.groups
            new = logging_in.log_in_oidc(
                db, provider.settings.issuer, *who, address(request), origin=ORIGIN, replaced=replaced
            )
            return new, awaited.return_to

        try:
            new, return_to = await run_in_threadpool(log_in)
        except SealrunError as refused:
            answer = page(
                "log_in.html",
                "Log in",
                refused.status,
                refused,
                provider=provider.name,
                return_to="/",
                name="",
                again=False,
            )
        else:
            answer = _in(new, return_to)
        cookies.take_away(answer, cookies.BEFORE)
        return answer


def _first_admin(made: APIRouter, db: Database, origin: str) -> None:
    def require_here(request: Request) -> None:
        if not is_loopback(address(request)) or "x-forwarded-for" in request.headers:
            raise Forbidden(
                "the first admin is made on the machine itself",
                hint="there: sealrun user create NAME --admin",
            )

    @made.get("/first-admin")
    async def ask(request: Request) -> Response:
        require_here(request)
        return page("first_admin.html", "The first admin", name="")

    @made.post("/first-admin")
    async def make(request: Request) -> Response:
        require_here(request)
        fields = await form(request, origin)
        name = text(fields, "name").strip()
        given = (text(fields, "secret"), name, text(fields, "password"), address(request))
        try:
            spend = partial(links.spend_first_admin_link, db, *given, origin=ORIGIN)
            new = await to_thread.run_sync(spend, limiter=HASHING)
        except SealrunError as refused:
            return page("first_admin.html", "The first admin", refused.status, refused, name=name)
        return _in(new, "/")


def _device(made: APIRouter, db: Database, origin: str) -> None:
    def shown(who: Principal, refused: SealrunError | None = None, **more: Any) -> Response:
        known = {"waiting": None, "code": "", "principal": who, "days": LOG_IN_DAYS} | more
        status = refused.status if refused is not None else 200
        return page("device.html", "Let a command line in", status, refused, **known)

    @made.get("/device")
    async def ask(request: Request) -> Response:
        who = await person(request, db)
        return go("/log-in", return_to="/device") if who is None else shown(who)

    @made.post("/device")
    async def look(request: Request) -> Response:
        fields = await form(request, origin)
        who = await person(request, db)
        if who is None:
            return go("/log-in", return_to="/device")
        try:
            waiting = await run_in_threadpool(device.look, db, who, text(fields, "code"), address(request))
        except SealrunError as refused:
            return shown(who, refused)
        return shown(who, waiting=waiting, code=text(fields, "code"))

    @made.post("/device/agree")
    async def agree(request: Request) -> Response:
        fields = await form(request, origin)
        who = await person(request, db)
        if who is None:
            return go("/log-in", return_to="/device")
        actor = _actor(who, request)
        try:
            await run_in_threadpool(device.agree, db, who, text(fields, "code"), address(request), actor=actor)
        except CredentialAsked:
            return go("/log-in", return_to="/device", again="1")
        except SealrunError as refused:
            return shown(who, refused)
        return page(
            "said.html", "It is let in", said="Go on in your terminal. You can close this page.", principal=None
        )

    @made.post("/device/refuse")
    async def refuse(request: Request) -> Response:
        fields = await form(request, origin)
        who = await person(request, db)
        if who is None:
            return go("/log-in", return_to="/device")
        try:
            await run_in_threadpool(device.refuse, db, who, text(fields, "code"), address(request))
        except SealrunError as refused:
            return shown(who, refused)
        return page("said.html", "It is turned away", said="The command line was not let in.", principal=None)


def _command_line(made: APIRouter, db: Database, origin: str) -> None:
    def checked(given: Any) -> dict[str, str]:
        found = {name: str(given.get(name, "")) for name in ("host", "port", "state", "challenge")}
        if not _PORT.fullmatch(found["port"]) or not 1024 <= int(found["port"]) < 1 << 16:
            raise RequestUnclear("port is none that a command line listens at")
        if not _STATE.fullmatch(found["state"]) or not 0 < len(found["host"]) <= 255:
            raise RequestUnclear("this was not sent by a command line")
        loopback.check_challenge(found["challenge"])
        return found

    @made.get("/log-in/command-line")
    async def ask(request: Request) -> Response:
        asked = checked(request.query_params)
        who = await person(request, db)
        here = f"/log-in/command-line?{urlencode(asked)}"
        if who is None or not who.fresh:
            return go("/log-in", return_to=here, **({"again": "1"} if who is not None else {}))
        target = f"http://127.0.0.1:{asked['port']}"
        more: dict[str, Any] = {"principal": who, "days": LOG_IN_DAYS, "form_action": target, **asked}
        return page("command_line.html", "Let the command line in", **more)

    @made.post("/log-in/command-line")
    async def agree(request: Request) -> Response:
        fields = await form(request, origin)
        asked = checked(fields)
        who = await person(request, db)
        if who is None or not who.fresh:
            return go("/log-in", return_to=f"/log-in/command-line?{urlencode(asked)}")
        actor = _actor(who, request)
        code = await run_in_threadpool(loopback.agree, db, who, asked["challenge"], asked["host"], actor=actor)
        query = urlencode({"code": code, "state": asked["state"]})
        return RedirectResponse(f"http://127.0.0.1:{asked['port']}/?{query}", 303)


def _in(new: NewSession, return_to: str) -> Response:
    answer = go(return_to)
    cookies.give(answer, cookies.SESSION, new.cookie)
    return answer


def _return_to(request: Request) -> str:
    return oidc_states.local_path(request.query_params.get("return_to", "/"))


def _actor(who: Principal, request: Request) -> Actor:
    return who.as_actor(ORIGIN, request=request.scope["state"]["request_id"])
