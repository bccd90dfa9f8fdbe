#!/usr/bin/env python3
"""Manage secrets without the rest of the command line: the commands of `sealrun secret`, where sealrun is installed.

    printf %s "$PASSWORD" | python scripts/secrets_admin.py set DATABASE_URL -p shop
    python scripts/secrets_admin.py list -p shop
    python scripts/secrets_admin.py history DATABASE_URL -p shop
    python scripts/secrets_admin.py delete DATABASE_URL -p shop

It can store a value and can show none: nothing in it holds a private key.
"""

import sys

try:
    from executor.cli.main import secrets_admin
except ImportError as missing:
    sys.exit(f"secrets_admin: sealrun is not installed for {sys.executable} ({missing.name} is missing)")

if __name__ == "__main__":
    secrets_admin()
