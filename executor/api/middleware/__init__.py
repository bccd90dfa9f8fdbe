"""What every request passes before it comes to its route: plain ASGI, in the order that `application` says."""
