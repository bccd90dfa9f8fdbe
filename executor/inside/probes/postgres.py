# /// script
# dependencies = ["psycopg[binary]>=3.1"]
# ///
"""Test a database without changing anything in it."""

import time


def probe(connection):
    """Connect and `SELECT 1`."""
    import psycopg

    began = time.monotonic()
    try:
        with connection.connect(connect_timeout=10) as opened:
            opened.execute("SELECT 1")
    except psycopg.Error as error:
        # libpq's message names host, database and user; it is masked on its way out.
        lines = (str(error).strip() or type(error).__name__).splitlines()
        return {"ok": False, "seconds": time.monotonic() - began, "said": "; ".join(line.strip() for line in lines)}
    return {"ok": True, "seconds": time.monotonic() - began, "said": "connected"}
