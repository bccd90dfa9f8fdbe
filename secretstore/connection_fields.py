"""What a field of a data source or catalog may hold: texts, names and URLs of a form, and references to secrets.

What is refused is never quoted: a value may well have been typed in the place of a name.
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

A_VALUE = f'takes a secret by its name, {{"{KEY}": "NAME"}}, and never a value'
_LONGEST = 2048  # characters of a setting
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_REGION = re.compile(r"[A-Za-z0-9-]{1,63}")
_PROJECT = re.compile(r"[a-z0-9-]{1,63}")
_ROLE = re.compile(r"arn:[a-z0-9-]+:iam::\d{12}:role/[A-Za-z0-9_+=,.@/-]+", re.ASCII)


def refused(why: str) -> PydanticCustomError:
    """Our own sentence; nothing of what stood there goes into it."""
    return PydanticCustomError("refused", "{why}", {"why": why})


def _reference(value: dict[str, Any]) -> dict[str, str]:
    if value.keys() - {KEY, FIELD}:
        raise refused(f'has a reference with more in it than "{KEY}" and "{FIELD}"')
    name, field = value[KEY], value.get(FIELD)
    try:
        check_secret_name(name if isinstance(name, str) else "")
    except NameRefused:
        raise refused("names no secret: what stands there cannot be the name of one") from None
    if FIELD not in value:
        return {KEY: name}
    if not isinstance(field, str) or not 0 < len(field) <= 255 or not field.isprintable():
        raise refused(f'has a reference whose "{FIELD}" is no name of a field')
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
        raise refused("takes a text")
    if not value:
        raise refused("is empty")
    if len(value) > _LONGEST or not value.isprintable() or value != value.strip():
        raise refused(f"takes one line of at most {_LONGEST:,} characters, without blanks around it")
    return value


def _url(value: Any) -> str:
    text = _plain(value)
    if "@" in text:  # wherever it stands: a password with a / in it ends what a parser takes for the host
        raise refused("has a user or a password in its URL, which belong into a secret")
    try:
        url = urlsplit(text)
        host, _ = url.hostname, url.port
    except ValueError:
        raise refused("takes a URL, as https://host:443/path") from None
    if "?" in text or "#" in text:
        raise refused("takes a URL without ? and #")
    if url.scheme not in ("http", "https") or not host or " " in text:
        raise refused("takes a URL that begins with http:// or https://, without blanks")
    return text


def _location(value: Any) -> str:
    """A name, or a URL of any scheme."""
    text = _plain(value)
    if "://" in text and any(sign in text for sign in "@?#"):
        raise refused("takes a URL without user, password, ? and #")
    return text


def _prefix(value: Any) -> str:
    text = _plain(value)
    if "://" in text or text.startswith("/"):
        raise refused("takes the path inside the bucket, without s3:// and without / before it")
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
    """What is no secret in itself may stand in one all the same."""
    return lambda value: _reference(value) if is_reference(value) else checked(value)


_bucket = _of_form(_BUCKET, "takes the bucket's name alone, without s3:// and without /")
_region = _of_form(_REGION, "takes the name of a region, as eu-central-1")
_project = _of_form(_PROJECT, "takes a project's ref: what stands for REF in https://REF.supabase.co")
_role = _of_form(_ROLE, "takes the ARN of a role, as arn:aws:iam::123456789012:role/NAME")

Given = str | dict[str, str]
"""A text, or the reference to a secret that holds it."""

Secret = Annotated[dict[str, str], PlainValidator(_secret)]
WholeSecret = Annotated[dict[str, str], PlainValidator(_whole_secret)]
Text = Annotated[Given, PlainValidator(_or_secret(_plain))]
Url = Annotated[Given, PlainValidator(_or_secret(_url))]
Location = Annotated[Given, PlainValidator(_or_secret(_location))]
Bucket = Annotated[Given, PlainValidator(_or_secret(_bucket))]
Prefix = Annotated[Given, PlainValidator(_or_secret(_prefix))]
Region = Annotated[Given, PlainValidator(_or_secret(_region))]
# These decide what is made of the others, so none of them hides in a secret.
PlainUrl = Annotated[str, PlainValidator(_url)]
ProjectRef = Annotated[str, PlainValidator(_project)]
RoleArn = Annotated[str, PlainValidator(_role)]
Addressing = Annotated[str, PlainValidator(_addressing)]
SourceName = Annotated[str, PlainValidator(_source_name)]
