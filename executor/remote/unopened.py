"""What takes a private key, which no server has: refused as where a key service opens none; a worker does it then."""

from typing import TYPE_CHECKING, NoReturn

from executor.errors import KeyOperationFailed, OperatorsOnly
from executor.schemas.keys import KeyRotation, Rewrapping
from executor.schemas.secrets import SecretRename

if TYPE_CHECKING:
    from executor.remote.server import Server


def rotate(server: "Server", asked: KeyRotation) -> NoReturn:
    """As `keys.rotate` where the key is not opened."""
    _refuse("the key pair of {project}/{environment} was not rotated: {why}", asked)


def rename(server: "Server", asked: SecretRename) -> NoReturn:
    """As `secrets.rename` where the key is not opened."""
    _refuse("the secret of {project}/{environment} was not renamed: {why}", asked)


def rewrap(server: "Server", asked: Rewrapping, **_: object) -> NoReturn:
    """As `keys.rewrap`; which key service is the first one, workers know."""
    raise OperatorsOnly(
        what="`key rewrap`", server=server.origin, hint="have workers do it: sealrun key rewrap --by-workers"
    )


def _refuse(message: str, asked: KeyRotation | SecretRename) -> NoReturn:
    raise KeyOperationFailed(
        message,
        project=asked.project,
        environment=asked.environment,
        why="a server opens no private key",
        unopened="no_private_key",
        hint="a worker does it that has the environment's key service, and none lives: sealrun workers",
    )
