"""A job that leaks: prints its own secret, plainly and in disguises that slip past a simple search for it.

Needs the secret API_KEY. What arrives outside is masked; the run itself has the real value, as the last line
shows.

    sealrun run -p shop examples/leaky.py
"""

import base64
import json
import os
import sys
from urllib.parse import quote


def main():
    key = os.environ.get("API_KEY")
    if not key:
        sys.exit("leaky: the secret API_KEY is missing; store it: sealrun secret set API_KEY -p PROJECT")
    print(f"plain:            {key}")
    print(f"base64:           {base64.b64encode(key.encode()).decode()}")
    print(f"base64, embedded: {base64.b64encode(f'user:{key}'.encode()).decode()}")
    print(f"hex:              {key.encode().hex()}")
    print(f"in a URL:         https://example.com/?key={quote(key, safe='')}")
    print(f"in JSON:          {json.dumps({'key': key})}")
    print(f"to stderr:        {key}", file=sys.stderr)
    print(f"leaky: the value this run holds has {len(key)} characters, and you have seen none of them")


if __name__ == "__main__":
    main()
