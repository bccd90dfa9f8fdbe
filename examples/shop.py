"""The example shop's database, as the jobs beside this file use it.

Needs the secret DATABASE_URL: sqlite:///path/to/file.db (three slashes: relative to the working directory;
four: absolute) or postgresql://user:password@host/database, which takes psycopg in the run's interpreter.

    python3 shop.py build FILE   writes the example's data into a new SQLite file; examples/shop.db is one
    python3 shop.py dump         prints the database as SQL that both SQLite and PostgreSQL read
"""

import argparse
import os
import sqlite3
import sys
from contextlib import closing
from datetime import date, timedelta
from urllib.parse import quote, unquote

EXPECTED = "expected sqlite:///path/to/file.db or postgresql://user:password@host/database"


class ShopUnavailable(Exception):
    """The database cannot be read; the message says why, and never quotes the URL: that is the secret."""


def database_url():
    """The URL from the environment, where sealrun has put the secret."""
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise ShopUnavailable(
            "the secret DATABASE_URL is missing; store it: sealrun secret set DATABASE_URL -p PROJECT"
        )
    return url.strip()


def select(url, sql, *parameters):
    """All rows of one SELECT, with `?` for each parameter, whichever database the URL names."""
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        return select_sqlite(url, sql, parameters)
    if scheme in ("postgres", "postgresql"):
        return select_postgresql(url, sql, parameters)
    raise ShopUnavailable(f"DATABASE_URL is not a database URL: {EXPECTED}")


def select_sqlite(url, sql, parameters):
    with closing(open_sqlite(url)) as connection:
        try:
            return connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise ShopUnavailable(f"the SQLite file that DATABASE_URL names: {error}") from None


def open_sqlite(url):
    """Open the file read-only: a sandboxed run may read its source folder and write nothing there."""
    path, _, options = url[len("sqlite://") :].partition("?")
    path = unquote(path[1:])
    if not path:
        raise ShopUnavailable(f"DATABASE_URL names no file: {EXPECTED}")
    uri = f"file:{quote(path)}?mode=ro" + (f"&{options}" if options else "")
    try:
        return sqlite3.connect(uri, uri=True)
    except sqlite3.Error as error:
        message = f"DATABASE_URL: {error}; a relative path starts at {os.getcwd()}"
        raise ShopUnavailable(message) from None


def select_postgresql(url, sql, parameters):
    try:
        import psycopg
    except ImportError:
        message = f"DATABASE_URL needs the driver psycopg, which {sys.executable} does not have"
        raise ShopUnavailable(message) from None
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            connection.read_only = True
            return connection.execute(sql.replace("?", "%s"), parameters).fetchall()
    except psycopg.Error as error:
        # The driver's own text names host and user: only the kind of failure is told.
        message = f"PostgreSQL did not answer the query: {type(error).__name__}"
        raise ShopUnavailable(message) from None


PRODUCTS = [
    ("TEA-ASSAM", "Assam, 250 g", 1290, 14),
    ("TEA-SENCHA", "Sencha, 100 g", 1650, 9),
    ("POT-CLAY", "Clay teapot", 4900, 2),
    ("CUP-GLASS", "Glass cup, set of 4", 2400, 4),
]
FIRST_DAY, LAST_DAY = date(2025, 11, 1), date(2026, 6, 30)

SCHEMA = """
CREATE TABLE products (
    sku TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    price_cents INTEGER NOT NULL
);
CREATE TABLE sales (
    sold_on DATE NOT NULL,
    sku TEXT NOT NULL REFERENCES products (sku),
    quantity INTEGER NOT NULL,
    PRIMARY KEY (sold_on, sku)
);
"""


def build(path):
    """Write the example data into a new SQLite file; the same on every machine."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO products VALUES (?, ?, ?)", [product[:3] for product in PRODUCTS])
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?)", invented_sales())
        connection.commit()
        connection.execute("VACUUM")


def invented_sales():
    """One row per day and product: weekends and December sell more; a fixed pattern stands in for chance."""
    for number in range((LAST_DAY - FIRST_DAY).days + 1):
        day = FIRST_DAY + timedelta(days=number)
        for place, (sku, _, _, usual) in enumerate(PRODUCTS):
            season = 1.5 if day.month == 12 else 1.0
            weekend = 1.4 if day.weekday() >= 5 else 1.0
            chance = (number * (31 + 6 * place)) % 17 / 16 - 0.5
            quantity = round(usual * season * weekend * (1 + 0.5 * chance))
            if quantity:
                yield day.isoformat(), sku, quantity


def dump(url):
    """Yield the whole database as SQL statements, from one consistent view of it."""
    if not url.startswith("sqlite:"):
        raise ShopUnavailable("this example dumps SQLite files only; PostgreSQL has pg_dump")
    with closing(open_sqlite(url)) as connection:
        connection.execute("BEGIN")
        yield from connection.iterdump()


def main():
    parser = argparse.ArgumentParser(description="Build or dump the example shop's database.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build").add_argument("file")
    commands.add_parser("dump")
    options = parser.parse_args()
    if options.command == "build":
        if os.path.exists(options.file):
            sys.exit(f"shop: {options.file} exists already")
        build(options.file)
        return
    try:
        for statement in dump(database_url()):
            print(statement)
    except (ShopUnavailable, sqlite3.Error) as error:
        sys.exit(f"shop: {error}")


if __name__ == "__main__":
    main()
