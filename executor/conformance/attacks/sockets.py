"""Sockets: those of programs that do what they are told by whoever connects, and the network of a run that has none.

A canary counts who came, so what these functions return is what they saw, and the truth is outside.
"""

from __future__ import annotations

import os
import socket
import subprocess
from typing import Any

from .kit import attack, first

Plan = dict[str, Any]
Got = tuple  # of a verdict and how
PATIENCE = 1.0


def said(kind: int, family: int, address: Any, name: str) -> None:
    """Connect, and leave the name of the attack there."""
    with socket.socket(family, kind) as own:
        own.settimeout(PATIENCE)
        if kind == socket.SOCK_DGRAM:
            own.sendto(name.encode(), address)
        else:
            own.connect(address)
            own.sendall(name.encode())


def stream(place: str, name: str) -> Any:
    return attack(name)(
        lambda plan: (
            first({"connected": lambda: said(socket.SOCK_STREAM, socket.AF_UNIX, plan["sockets"][place], name)})
            if plan["sockets"].get(place)
            else (None, "no socket was put there")
        )
    )


for _place in ("source", "readable", "writable", "elsewhere"):
    stream(_place, f"unix-{_place}")


@attack("unix-abstract")
def unix_abstract(plan: Plan) -> Got:
    address = "\0" + plan["sockets"]["abstract"]
    return first({"connected": lambda: said(socket.SOCK_STREAM, socket.AF_UNIX, address, "unix-abstract")})


@attack("unix-datagram")
def unix_datagram(plan: Plan) -> Got:
    path = plan["sockets"]["datagram"]
    return first({"sent": lambda: said(socket.SOCK_DGRAM, socket.AF_UNIX, path, "unix-datagram")})


@attack("tmux")
def tmux(plan: Plan) -> Got:
    """A command for a terminal of its user's; a file tells whether it was done."""
    if not plan.get("tmux"):
        return None, "no tmux was started for it"
    done = "none was reached"
    for path, proof in plan["tmux"].items():
        told = ["tmux", "-S", path, "new-window", f"touch {proof}"]
        found = subprocess.run(told, capture_output=True, check=False, timeout=PATIENCE * 4)
        done = found.stderr.decode(errors="replace").strip()[:80] or done
    return False, done


@attack("ssh-agent")
def ssh_agent(plan: Plan) -> Got:
    """The identities it holds, asked for by its protocol."""
    if not plan.get("agents"):
        return None, "no ssh-agent was started for it"

    def asked(path: str) -> bool:
        with socket.socket(socket.AF_UNIX) as own:
            own.settimeout(PATIENCE)
            own.connect(path)
            own.sendall(b"\0\0\0\1\x0b")
            return own.recv(5)[4:] == b"\x0c"

    return first({path: lambda path=path: asked(path) for path in plan["agents"]})


@attack("covered")
def covered(plan: Plan) -> Got:
    """What the canary's sockets are called after is there for this run, as for any."""

    def is_gone(path: str) -> bool:
        return not os.listdir(path) if os.path.isdir(path) else not os.path.getsize(path)

    gone = [path for path in plan["forged"] if is_gone(path)]
    return bool(gone), ", ".join(gone) or "all of them are there"


@attack("starts")
def starts(plan: Plan) -> Got:
    """They have names that lead nowhere, over a thousand links: whoever follows them has an end."""
    return False, "this run has started"


@attack("none-loopback")
def none_loopback(plan: Plan) -> Got:
    port, name = plan["tcp"], "none-loopback"
    ways: dict[str, Any] = {
        "127.0.0.1": lambda: said(socket.SOCK_STREAM, socket.AF_INET, ("127.0.0.1", port), name),
        "::ffff:127.0.0.1": lambda: said(socket.SOCK_STREAM, socket.AF_INET6, ("::ffff:127.0.0.1", port), name),
        "0.0.0.0": lambda: said(socket.SOCK_STREAM, socket.AF_INET, ("0.0.0.0", port), name),
        "UDP": lambda: said(socket.SOCK_DGRAM, socket.AF_INET, ("127.0.0.1", plan["udp"]), name),
    }
    for way, act in ways.items():
        first({way: act})
    return False, "all ways were tried"


@attack("none-servers")
def none_servers(plan: Plan) -> Got:
    """Redis, PostgreSQL, and whatever else is told of."""
    if not plan["servers"]:
        return None, "no server was named"
    ways = {
        f"port {port}": lambda h=host, p=port: socket.create_connection((h, p), PATIENCE)
        for host, port in plan["servers"]
    }
    return first(ways)


@attack("none-metadata")
def none_metadata(plan: Plan) -> Got:
    return first({"connected": lambda: socket.create_connection(("169.254.169.254", 80), PATIENCE)})


@attack("none-names")
def none_names(plan: Plan) -> Got:
    """A datagram to a name server takes anything out that is asked for as a name."""
    servers = ["127.0.0.53"]
    try:
        with open("/etc/resolv.conf") as file:
            servers += [line.split()[1] for line in file if line.startswith("nameserver") and len(line.split()) > 1]
    except OSError:
        pass
    question = b"\0\1\1\0\0\1\0\0\0\0\0\0\7example\7invalid\0\0\1\0\1"

    def asked(server: str) -> None:
        """An own loopback takes datagrams, too: only an answer tells that somebody had it."""
        with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.settimeout(PATIENCE / 2)
            own.connect((server, 53))
            own.send(question)
            if server.startswith("127.") or server == "::1":
                own.recv(512)

    return first({server: lambda server=server: asked(server) for server in servers})
