"""The two files in which AWS's libraries look for profiles: one profile per S3 source.

Both are read line by line: a value ends with its line, quotes are part of it, and `%` has no meaning. Readers other
than botocore take `#` or `;` after a blank for a comment, so nothing has blanks: neither values nor the `=`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

_CREDENTIALS = ("access_key_id", "secret_access_key", "session_token")


def config(sources: Iterable[Mapping[str, Any]]) -> bytes:
    """Write the file of AWS_CONFIG_FILE."""
    return b"\n".join(_profile(source) for source in sources)


def credentials(sources: Iterable[Mapping[str, Any]]) -> bytes:
    """Write the file of AWS_SHARED_CREDENTIALS_FILE; a source without credentials gets no section."""
    sections = []
    for source in sources:
        lines = [f"aws_{name}={source[name]}" for name in _CREDENTIALS if name in source]
        if lines:
            sections.append(_section(source["name"], lines))
    return b"\n".join(sections)


def _profile(source: Mapping[str, Any]) -> bytes:
    lines = []
    if "region" in source:
        lines.append(f"region={source['region']}")
    if "endpoint" in source:
        lines.append(f"endpoint_url={_endpoint(source['endpoint'])}")
        # Since 2025 AWS's libraries send checksums that some other servers reject.
        lines.append("request_checksum_calculation=when_required")
        lines.append("response_checksum_validation=when_required")
    if source.get("addressing", "auto") != "auto":
        lines += ["s3=", f"  addressing_style={source['addressing']}"]
    return _section(f"profile {source['name']}", lines)


def _endpoint(url: str) -> str:
    """End a URL with a path in a slash: the SDK for Rust appends the bucket directly."""
    return f"{url.rstrip('/')}/" if "/" in url.partition("://")[2].rstrip("/") else url


def _section(name: str, lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in [f"[{name}]", *lines]).encode()
