"""The HTTP API: a door over the operations, with a route per operation. It can seal and submit; it can open nothing.

`routes` is the table; `endpoints` makes FastAPI's endpoints of it, `admission` holds who asks against what the
operation takes, `problems` says what went wrong. No state lives in the process.
"""
