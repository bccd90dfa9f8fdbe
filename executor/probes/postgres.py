# /// script
# dependencies = ["psycopg[binary]>=3.1"]
# ///
"""One connection to a database, and a statement that changes nothing."""

import time


def probe(connection):
    """Connect and `SELECT 1`."""
    import psycopg

    began = time.monotonic()
    try:
        with connection.connect(connect_timeout=10) as opened:
            opened.execute("SELECT 1")
    except psycopg.Error as error:
        # libpq's own words name host, database and user; they are masked on their way out.
        first = (str(error).strip() or type(error).__name__).splitlines()[-1]
        return {"ok": False, "seconds": time.monotonic() - began, "said": first}
    return {"ok": True, "seconds": time.monotonic() - began, "said": "connected"}
