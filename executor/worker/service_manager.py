"""What systemd is told of a worker that it has started as `Type=notify`: see sd_notify(3)."""

import contextlib
import os
import socket


class ServiceManager:
    """The service manager that has started this process, if one has that wants to hear of it."""

    def __init__(self) -> None:
        """Read where it listens; nothing that this process starts is to speak there."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        watched = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", str(os.getpid()))
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watched = watched[0] != "" and watched[1] == str(os.getpid())
        self._status: str | None = None

    def ready(self) -> None:
        """The worker takes runs."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """The worker was told to stop. A signal's handler may call this."""
        self._tell("STOPPING=1")

    def pulse(self, why: str | None) -> None:
        """Its process turns; `why` it takes no run is shown by `systemctl status`."""
        status = "takes runs" if why is None else f"takes no run: {why}"
        lines = ["WATCHDOG=1"] if self._watched else []
        if status != self._status:
            self._status = status
            lines.append(f"STATUS={' '.join(status.split())}")
        if lines:
            self._tell(*lines)

    def _tell(self, *lines: str) -> None:
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaking:
                speaking.settimeout(1.0)
                speaking.sendto("\n".join(lines).encode(), self._address)
