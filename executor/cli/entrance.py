"""How people come in to a server here: the address it listens on, and the page that makes the first admin."""

import contextlib
import html
import os
import socket
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from pathlib import Path

from executor.cli.here import has_terminal
from executor.cli.shown import screen
from executor.errors import AddressTaken
from executor.operations import people
from executor.operations.deployment import Deployment
from executor.server_settings import ServerSettings, is_loopback
from secretstore.audit import Actor

_WAITING = 1024  # connections that nobody has taken yet

_OPENED: "list[subprocess.Popen[bytes]]" = []
"""Kept, as Popen warns if one is collected before its process ends."""

_PAGE = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={url}">
<title>sealrun</title>
<p><a href="{url}">Make the first admin of sealrun</a>
"""


def listen(server: ServerSettings) -> socket.socket:
    """Take the server's address; connections wait from now on.

    Raises:
        AddressTaken: another program has it, or this machine or user may not.
    """
    host, port = server.listen
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(server.listen)
        made.listen(_WAITING)
    except OSError as problem:
        made.close()
        why = (problem.strerror or "it cannot be bound").lower()
        raise AddressTaken(address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}", why=why) from None
    return made


@contextlib.contextmanager
def first_admin(at: Deployment, who: Actor, server: ServerSettings, folder: Path) -> Iterator[Path | None]:
    """Keep the page that makes the first admin while the context lasts; None where there is one, or off loopback.

    Its secret stands in that file alone, which is this user's, and behind the `#` of where it leads: in no command, no
    log, and in nothing that a server is sent but the body of one request.
    """
    if not is_loopback(server.listen[0]) or not server.public_url.startswith("http://"):
        yield None
        return
    secret = at.ask(who, people.begin_first_admin)
    if secret is None:
        yield None
        return
    page = folder / f"first-admin-{server.listen[1]}.html"
    _write(page, _PAGE.format(url=html.escape(f"{server.public_url}/first-admin#{secret}")))
    try:
        yield page
    finally:
        page.unlink(missing_ok=True)


def show(page: Path) -> None:
    """Open a page with this machine's browser where somebody sits before it, and say where it lies."""
    screen.say(f"nobody can log in yet: the first admin is made within ten minutes at {page.as_uri()}")
    if has_browser():
        # By a process of its own: some are waited for, and this one is about to serve what it asks for.
        command = [sys.executable, "-P", "-m", "webbrowser", page.as_uri()]
        nowhere = subprocess.DEVNULL
        _OPENED.append(subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True))


def has_browser() -> bool:
    """Whether one on this machine can be opened, for somebody who sits before it."""
    if not has_terminal() or "SSH_CONNECTION" in os.environ:
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return sys.platform == "darwin" or any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _write(page: Path, text: str) -> None:
    made, unfinished = tempfile.mkstemp(dir=page.parent)  # 0600, whatever the umask
    with os.fdopen(made, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(unfinished, page)
