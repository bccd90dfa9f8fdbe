"""An OpenID provider on loopback whose tokens a test makes itself, right or wrong."""

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.serving import Stranger, stranger

CLIENT_ID, CLIENT_SECRET = "sealrun-test", "a-secret-of-the-client-of-the-tests"


@dataclass
class Provider:
    """What it publishes, and which token it gives for which code; `extra` are claims beside the usual ones."""

    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "k1"}))
    server: Stranger | None = None
    given: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By code, the token and the challenge of who began."""

    @property
    def issuer(self) -> str:
        assert self.server is not None, "it is started"
        return self.server.url

    def claims(self, nonce: str, **extra: Any) -> dict[str, Any]:
        """What a token of it says that is right."""
        now = int(time.time())
        usual = {"iss": self.issuer, "aud": CLIENT_ID, "sub": "s-1", "nonce": nonce, "iat": now, "exp": now + 300}
        return {name: value for name, value in (usual | extra).items() if value is not None}

    def signed(self, claims: dict[str, Any], **head: Any) -> str:
        """A token with its signature."""
        return jwt.encode({"alg": "RS256", "kid": "k1"} | head, claims, self.key)

    def code(self, token: str, challenge: str) -> str:
        """A code for which a token is given, once."""
        code = f"code-{len(self.given)}"
        self.given[code] = token, challenge
        return code

    def answer(self, method: str, path: str, body: bytes) -> Any:
        """As a web server."""
        if path == "/.well-known/openid-configuration":
            ends = {name: f"{self.issuer}/{name}" for name in ("authorization_endpoint", "token_endpoint")}
            return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks", **ends}
        if path == "/jwks":
            return {"keys": [self.key.as_dict(private=False) | {"use": "sig", "alg": "RS256"}]}
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        token, challenge = self.given.pop(asked.get("code", ""), ("", ""))
        proved = (
            base64.urlsafe_b64encode(sha256(asked.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        )
        if not token or proved != challenge:
            return 400, {"content-type": "application/json"}, json.dumps({"error": "invalid_grant"}).encode()
        return {"access_token": "a", "token_type": "Bearer", "id_token": token}


@contextlib.contextmanager
def providing() -> Iterator[Provider]:
    """A provider until the end."""
    made = Provider()
    with stranger(made.answer) as server:
        made.server = server
        yield made
