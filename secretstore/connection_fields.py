"""The types of the fields of data sources and catalogs: texts, names, URLs, and references to secrets.

Refusals never quote the text: it may be a value that was typed instead of a name.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

from secretstore.errors import NameRefused
from secretstore.naming import check_connection_name, check_secret_name
from secretstore.run_connection import FIELD, KEY, is_reference

A_VALUE = f'takes the name of a secret, {{"{KEY}": "NAME"}}, never a value'
_LONGEST = 2048  # characters of a setting
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_REGION = re.compile(r"[A-Za-z0-9-]{1,63}")
_PROJECT = re.compile(r"[a-z0-9-]{1,63}")
_ROLE = re.compile(r"arn:[a-z0-9-]+:iam::\d{12}:role/[A-Za-z0-9_+=,.@/-]+", re.ASCII)


def refused(why: str) -> PydanticCustomError:
    """Return an error for pydantic with our own sentence, which quotes nothing."""
    return PydanticCustomError("refused", "{why}", {"why": why})


def _reference(value: dict[str, Any]) -> dict[str, str]:
    if value.keys() - {KEY, FIELD}:
        raise refused(f'has a reference with more in it than "{KEY}" and "{FIELD}"')
    name, field = value[KEY], value.get(FIELD)
    try:
        check_secret_name(name if isinstance(name, str) else "")
    except NameRefused:
        raise refused("takes the name of a secret, and the text given cannot be one") from None
    if FIELD not in value:
        return {KEY: name}
    if not isinstance(field, str) or not 0 < len(field) <= 255 or not field.isprintable():
        raise refused(f'has a reference whose "{FIELD}" is not the name of a field')
    return {KEY: name, FIELD: field}


def _secret(value: Any) -> dict[str, str]:
    if is_reference(value):
        return _reference(value)
    raise refused(A_VALUE)


def _whole_secret(value: Any) -> dict[str, str]:
    if is_reference(value) and FIELD in value:
        raise refused(f'takes a whole JSON secret, without "{FIELD}"')
    return _secret(value)


def _plain(value: Any) -> str:
    if is_reference(value):
        raise refused("cannot be taken from a secret")
    if not isinstance(value, str):
        raise refused("takes text")
    if not value:
        raise refused("is empty")
    if len(value) > _LONGEST or not value.isprintable() or value != value.strip():
        raise refused(f"takes one line of at most {_LONGEST:,} characters, without spaces around it")
    return value


def _url(value: Any) -> str:
    text = _plain(value)
    if "@" in text:  # anywhere: to a parser, a / in a password ends the host
        raise refused("has a user or a password in its URL; they belong in a secret")
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        raise refused("takes a URL, such as https://host:443/path") from None
    if "?" in text or "#" in text:
        raise refused("takes a URL without ? and #")
    if url.scheme not in ("http", "https") or not host or " " in text:
        raise refused("takes a URL that begins with http:// or https://, without spaces")
    return text


def _location(value: Any) -> str:
    """Check a name, or a URL of any scheme."""
    text = _plain(value)
    if "://" in text and any(sign in text for sign in "@?#"):
        raise refused("takes a URL without user, password, ? and #")
    return text


def _prefix(value: Any) -> str:
    text = _plain(value)
    if "://" in text or text.startswith("/"):
        raise refused("takes the path inside the bucket, without s3:// and a leading /")
    return text.rstrip("/")


def _addressing(value: Any) -> str:
    if value not in ("auto", "path", "virtual"):
        raise refused("takes auto, path or virtual")
    return str(value)


def _source_name(value: Any) -> str:
    try:
        check_connection_name(_plain(value))
    except NameRefused:
        raise refused("takes the name of a source of the same environment") from None
    return str(value)


def _of_form(form: re.Pattern[str], why: str) -> Callable[[Any], str]:
    def checked(value: Any) -> str:
        if not form.fullmatch(_plain(value)):
            raise refused(why)
        return str(value)

    return checked


def _or_secret(checked: Callable[[Any], str]) -> Callable[[Any], str | dict[str, str]]:
    """Return a check for a field that is not secret as such, but may come from one."""
    return lambda value: _reference(value) if is_reference(value) else checked(value)


_bucket = _of_form(_BUCKET, "takes just the bucket's name, without s3:// and /")
_region = _of_form(_REGION, "takes a region, such as eu-central-1")
_project = _of_form(_PROJECT, "takes the project's ref, the REF of https://REF.supabase.co")
_role = _of_form(_ROLE, "takes the ARN of a role, such as arn:aws:iam::123456789012:role/NAME")

Given = str | dict[str, str]
"""Text, or a reference to the secret that holds it."""

Secret = Annotated[dict[str, str], PlainValidator(_secret)]
WholeSecret = Annotated[dict[str, str], PlainValidator(_whole_secret)]
Text = Annotated[Given, PlainValidator(_or_secret(_plain))]
Url = Annotated[Given, PlainValidator(_or_secret(_url))]
Location = Annotated[Given, PlainValidator(_or_secret(_location))]
Bucket = Annotated[Given, PlainValidator(_or_secret(_bucket))]
Prefix = Annotated[Given, PlainValidator(_or_secret(_prefix))]
Region = Annotated[Given, PlainValidator(_or_secret(_region))]
# These decide how the others are used, so a secret cannot hold them.
PlainUrl = Annotated[str, PlainValidator(_url)]
ProjectRef = Annotated[str, PlainValidator(_project)]
RoleArn = Annotated[str, PlainValidator(_role)]
Addressing = Annotated[str, PlainValidator(_addressing)]
SourceName = Annotated[str, PlainValidator(_source_name)]
