"""Makes the key that SEALRUN_KEYS names by its alias, in a stand-in for AWS KMS; says so where there is one already.

For the stand-in of compose.yaml alone: a key of AWS is made once, by whoever may, and outlives every container.
"""

import os
import sys
from urllib.parse import parse_qs

from botocore.session import get_session


def main(spec: str) -> str:
    """Have a key under the alias of `aws-kms:ALIAS?region=…&endpoint_url=…`; what was done."""
    alias, _, query = spec.removeprefix("aws-kms:").partition("?")
    place = {name: values[-1] for name, values in parse_qs(query).items()}
    kms = get_session().create_client("kms", region_name=place["region"], endpoint_url=place["endpoint_url"])
    pages = kms.get_paginator("list_aliases").paginate()
    if any(found["AliasName"] == alias for page in pages for found in page["Aliases"]):
        return f"{alias} is there"
    key = kms.create_key(Description="sealrun")["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=alias, TargetKeyId=key)
    return f"{alias} is the key {key}"


if __name__ == "__main__":
    print(f"kms-key: {main(os.environ['SEALRUN_KEYS'])}", file=sys.stderr)
