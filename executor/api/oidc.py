"""Log-in by an OpenID provider: code flow with PKCE, and what its token has to prove before anybody is let in.

OpenID Connect Core 1.0, sections 3.1.2 and 3.1.3.7; RFC 7636; RFC 9700.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from executor.errors import ProviderRefused
from executor.people.oidc_states import Awaited
from executor.server_settings import OidcSettings

# What is signed by a key that only the provider has: no HMAC, whose key this server has too, and not "none".
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
_LEEWAY = 60  # seconds by which clocks may differ
_KEPT = 600.0  # seconds for which what the provider publishes is kept
_SECONDS = 10.0  # for each answer of the provider
_LARGEST = 1 << 20  # bytes of one

_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True)
class Person:
    """Whom the provider vouches for: `subject` is who it is, `name` only how to call them."""

    subject: str
    name: str
    groups: tuple[str, ...]


class Provider:
    """An OpenID provider. What it publishes is kept for minutes, and asked for again when it does not fit."""

    def __init__(self, settings: OidcSettings, redirect_uri: str) -> None:
        self.settings, self.redirect_uri = settings, redirect_uri
        self._published: tuple[float, Mapping[str, Any], KeySet] | None = None

    @property
    def name(self) -> str:
        """What people are shown: the provider's host."""
        return urlsplit(self.settings.issuer).netloc

    def log_in_url(self, awaited: Awaited) -> str:
        """Where a browser is sent to log in.

        Raises:
            ProviderRefused: the provider does not answer as one.
        """
        metadata, _ = self._known()
        with self._client() as client:
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                state=awaited.state,
                nonce=awaited.nonce,
                code_verifier=awaited.verifier,
            )
        return str(url)

    def person(self, awaited: Awaited, code: str) -> Person:
        """Whom the code of a log-in stands for.

        Raises:
            ProviderRefused: the provider does not take the code, or its token does not prove what it has to.
        """
        metadata, keys = self._known()
        try:
            with self._client() as client:
                token = client.fetch_token(metadata["token_endpoint"], code=code, code_verifier=awaited.verifier)
        except (OAuthError, httpx.HTTPError, ValueError):
            raise ProviderRefused("the provider did not take the log-in") from None
        text = token.get("id_token")
        if not isinstance(text, str):
            raise ProviderRefused("the provider gave no token that says who somebody is")
        try:
            return self._of(self._claims(text, keys, awaited))
        except JoseError:
            _, keys = self._known(anew=True)  # it may have changed its keys
        try:
            return self._of(self._claims(text, keys, awaited))
        except JoseError:
            raise ProviderRefused("the token of the provider does not prove who it is for") from None

    def _claims(self, text: str, keys: KeySet, awaited: Awaited) -> Mapping[str, Any]:
        found = jwt.decode(text, keys, algorithms=list(_ALGORITHMS)).claims
        required: dict[str, Any] = {
            "iss": {"essential": True, "value": self.settings.issuer},
            "aud": {"essential": True, "value": self.settings.client_id},
            "nonce": {"essential": True, "value": awaited.nonce},
            "exp": {"essential": True},
            "iat": {"essential": True},
            "sub": {"essential": True},
        }
        jwt.JWTClaimsRegistry(leeway=_LEEWAY, **required).validate(found)
        audience = found["aud"] if isinstance(found["aud"], list) else [found["aud"]]
        party = found.get("azp")
        if party not in (None, self.settings.client_id) or (len(audience) > 1 and party is None):
            raise ProviderRefused("the token of the provider was made for another application")
        return found

    def _of(self, claims: Mapping[str, Any]) -> Person:
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise ProviderRefused("the token of the provider does not say who it is for")
        said = (claims.get(name) for name in ("preferred_username", "name"))
        name = next((one for one in said if isinstance(one, str) and one), subject)
        groups = claims.get(self.settings.groups_claim, [])
        listed = groups if isinstance(groups, list) else [groups]
        return Person(subject, name, tuple(one for one in listed if isinstance(one, str)))

    def _known(self, anew: bool = False) -> tuple[Mapping[str, Any], KeySet]:
        now = time.monotonic()
        kept = self._published
        if kept is not None and not anew and now - kept[0] < _KEPT:
            return kept[1], kept[2]
        well_known = self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
        metadata = _document(well_known)
        if metadata.get("issuer") != self.settings.issuer:
            raise ProviderRefused("the provider calls itself by another name than SEALRUN_OIDC_ISSUER")
        if not all(isinstance(metadata.get(name), str) for name in _ENDPOINTS):
            raise ProviderRefused("the provider does not publish where people log in")
        try:
            keys = KeySet.import_key_set(_document(metadata["jwks_uri"]))  # type: ignore[arg-type]  # checked there
        except (JoseError, ValueError, KeyError, TypeError):
            raise ProviderRefused("the provider publishes no keys that can be read") from None
        self._published = (now, metadata, keys)
        return metadata, keys

    def _client(self) -> OAuth2Client:
        return OAuth2Client(
            client_id=self.settings.client_id,
            client_secret=self.settings.client_secret,
            scope=self.settings.scopes,
            redirect_uri=self.redirect_uri,
            code_challenge_method="S256",
            timeout=_SECONDS,
            follow_redirects=False,
        )


def _document(url: str) -> Mapping[str, Any]:
    try:
        with httpx.stream("GET", url, timeout=_SECONDS, follow_redirects=False) as answer:
            answer.raise_for_status()
            body = b""
            for part in answer.iter_bytes():
                body += part
                if len(body) > _LARGEST:
                    raise ValueError("too large")
        found = json.loads(body)
    except (httpx.HTTPError, ValueError):
        raise ProviderRefused("the provider does not answer") from None
    if not isinstance(found, dict):
        raise ProviderRefused("the provider does not answer as one")
    return found
