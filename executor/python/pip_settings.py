"""pip's own settings on this machine, as pip finds them: its files in their order, then its variables."""

import configparser
import json
import logging
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

logger = logging.getLogger(__name__)

_SECTIONS = ("global", "install")  # the later counts more, in whichever file it stands
INDEX_KEYS = ("index-url", "extra-index-url", "find-links", "no-index")
"""Those of pip's options, and of uv's keys, that say where packages come from."""

_VARIABLE = "PIP_"
_FILE = "PIP_CONFIG_FILE"


def read(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return pip's options by their long names without dashes, as in `extra-index-url`."""
    parsed = [found for file in _files(environ, home) if (found := _parsed(file)) is not None]
    options: dict[str, str] = {}
    for section in _SECTIONS:
        for file in parsed:
            if file.has_section(section):
                options |= {_option(key): value.strip() for key, value in file.items(section)}
    for name, value in environ.items():
        if name.startswith(_VARIABLE) and name != _FILE and value.strip():
            options[_option(name.removeprefix(_VARIABLE))] = value.strip()
    return options


def settings_folder(environ: Mapping[str, str], home: Path) -> Path:
    """Return the folder of a user's settings."""
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config")


def as_variables(options: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield variables that uv, git and others read for what pip has options for."""
    if "proxy" in options:
        yield "HTTP_PROXY", options["proxy"]
        yield "HTTPS_PROXY", options["proxy"]
    timeout = options.get("timeout") or options.get("default-timeout") or ""
    if timeout.isdecimal():
        yield "UV_HTTP_TIMEOUT", timeout


def as_toml(options: Mapping[str, str], taken: Collection[str]) -> str:
    """Return the lines of a uv.toml that say the same, but for the keys that are taken."""
    lines = {
        "index-url": _quoted(options.get("index-url", "")),
        "extra-index-url": _listed(options.get("extra-index-url", "")),
        "find-links": _listed(options.get("find-links", "")),
        "no-index": "true" if options.get("no-index", "").lower() in ("1", "true", "yes", "on") else "",
        "allow-insecure-host": _listed(options.get("trusted-host", "")),
    }
    return "".join(f"{key} = {value}\n" for key, value in lines.items() if value and key not in taken)


def _listed(words: str) -> str:
    return f"[{', '.join(map(_quoted, words.split()))}]" if words else ""


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else ""


def _files(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    own = environ.get(_FILE)
    if own == os.devnull:
        return
    for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep):
        if folder:
            yield Path(folder) / "pip/pip.conf"
    yield Path("/etc/pip.conf")
    if own is None or not os.path.exists(own):
        yield home / ".pip/pip.conf"
        yield settings_folder(environ, home) / "pip/pip.conf"
    yield Path(sys.prefix) / "pip.conf"
    if own is not None:
        yield Path(own)


def _parsed(file: Path) -> configparser.RawConfigParser | None:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, configparser.Error) as error:
        # The parser's words quote a line, which may have a password.
        logger.warning("%s is left out for installers: %s", file, type(error).__name__)
        return None
    return parser


def _option(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")
