"""Where SEALRUN_HOME is if nobody says. Alone, as what starts in a moment asks it, too."""

import os
import pwd
from collections.abc import Mapping


def default_home(environ: Mapping[str, str]) -> str:
    """Return `$XDG_DATA_HOME/sealrun`; by the XDG rule, one that is relative or empty is ignored."""
    data = environ.get("XDG_DATA_HOME", "")
    if not data.startswith("/"):
        data = os.path.join(environ.get("HOME") or passwd_home(), ".local", "share")
    return os.path.join(data, "sealrun")


def passwd_home() -> str:
    """Return the home folder that the system has for this user."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/nonexistent"
