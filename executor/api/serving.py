"""The server as a process: uvicorn around the application, with its bounds."""

import logging

import uvicorn

from executor.api.application import Origin, create_application
from executor.api.oidc import Provider
from executor.operations.deployment import Deployment
from executor.server_settings import ServerSettings
from executor.settings import Settings

_CONNECTIONS = 1_000
_HEADERS = 32 << 10  # bytes
_KEEP_ALIVE = 30  # seconds
_STOP = 10  # seconds that requests under way have to end


def serve(settings: Settings, server: ServerSettings) -> None:
    """Answer requests until a signal ends it."""
    at = Deployment.open(settings)
    logging.getLogger("uvicorn.access").disabled = True  # it would write paths with their queries
    try:
        provider = None
        if server.oidc is not None:
            provider = Provider(server.oidc, f"{server.public_url}/log-in/callback")
        app = create_application(at, Origin(server.public_url, server.hosts, provider))
        uvicorn.run(
            app,
            host=server.listen[0],
            port=server.listen[1],
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=bool(server.trusted_proxies),
            forwarded_allow_ips=list(server.trusted_proxies),
            limit_concurrency=_CONNECTIONS,
            h11_max_incomplete_event_size=_HEADERS,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_STOP,
        )
    finally:
        at.close()
