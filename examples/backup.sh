#!/bin/sh
# A backup as a plain command: dumps the shop's database, packs it, and signs it, so that a restore can refuse a
# file that somebody has changed.
#
# Needs the secrets DATABASE_URL (an SQLite file, see shop.py) and BACKUP_KEY.
#
#     sealrun run -p shop -- sh examples/backup.sh
set -eu

if [ -z "${BACKUP_KEY:-}" ]; then
    echo "backup: the secret BACKUP_KEY is missing; store it: sealrun secret set BACKUP_KEY -p PROJECT" >&2
    exit 1
fi
here=$(dirname "$0")
folder=${SEALRUN_OUTPUT_DIR:-.}

echo "backup: dumping the database"
python3 "$here/shop.py" dump > "$folder/shop.sql"
echo "backup: $(grep -c '^INSERT' "$folder/shop.sql") rows"
gzip -n -9 -f "$folder/shop.sql"

# The key goes to its user in the environment: an argument could be read by every process of the machine.
python3 -c '
import hmac, os, sys
with open(sys.argv[1], "rb") as file:
    print(hmac.new(os.environb[b"BACKUP_KEY"], file.read(), "sha256").hexdigest())
' "$folder/shop.sql.gz" > "$folder/shop.sql.gz.hmac-sha256"
echo "backup: wrote shop.sql.gz and its signature"
