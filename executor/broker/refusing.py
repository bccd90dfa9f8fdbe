"""What a broker means that answers, and refuses: a sentence without its own words, which may quote what was sent."""

from collections.abc import Iterator

import amqp


def refusal(error: BaseException) -> str | None:
    """How a broker refused a connection, as the end of a sentence that it begins; None where it did not answer."""
    for one in _chain(error):
        # By its name: the client of Redis need not be there where RabbitMQ rings.
        if isinstance(one, amqp.AccessRefused) or type(one).__name__ == "AuthenticationError":
            return "refuses the login: its user or its password is not the one in the URL"
        if isinstance(one, amqp.NotAllowed):
            return "refuses the virtual host: there is none of this name, or its user may not use it"
        if "DB index is out of range" in str(one):
            return "refuses the database: there is none of this number"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
