"""Who a library is, and where it asks, when a project's own variables stand beside a profile: the target of one run.

Each library runs in a process of its own, with the variables of its case alone, and asks a server that only listens.
"""

import concurrent.futures
import http.server
import os
import re
import subprocess
import sys
import tempfile
import threading

OWN = {"AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "own"}
PROFILE = {"AWS_PROFILE": "lake"}
S3FS = "import s3fs; s3fs.S3FileSystem({}).ls('raw')"
POLARS = "import polars; polars.scan_parquet('s3://raw/a.parquet'{}).collect()"
BY_DEFAULT = {"s3fs": ("-c", S3FS.format("")), "polars": ("-c", POLARS.format(""))}
BY_NAME = {
    "s3fs": ("-c", S3FS.format("profile='lake'")),
    "polars": ("-c", POLARS.format(", credential_provider=polars.CredentialProviderAWS(profile_name='lake')")),
}
CATALOG = {
    "PYICEBERG_CATALOG__ICE__TYPE": "rest",
    "PYICEBERG_CATALOG__ICE__URI": "http://of-the-catalog",
    "PYICEBERG_CATALOG__ICE__TOKEN": "of-the-catalog",
}
READ = "from pyiceberg.catalog import _ENV_CONFIG as read; print(sorted(read.get_catalog_config('ice').items()))"
FILES = (
    "from pyiceberg.catalog import _ENV_CONFIG as read; from pyiceberg.io.pyarrow import PyArrowFileIO as Files;"
    "Files(read.get_catalog_config('ice')).new_input('s3://raw/x').exists()"
)
CLIENT = {"DATABRICKS_CLIENT_ID": "own", "DATABRICKS_CLIENT_SECRET": "own"}
SDK = """
from databricks.sdk.core import Config
try:
    print(Config().auth_type)
except ValueError as refused:
    print(str(refused).partition('. ')[0])
"""


class Asked(http.server.BaseHTTPRequestHandler):
    """Notes whose key a request was signed with, and for which region."""

    def do_GET(self):
        signed = re.search(r"Credential=([^/]+)/\d+/([^/]+)/", self.headers.get("Authorization", ""))
        self.server.asked.append(signed.groups() if signed else ("nobody", ""))
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *words):
        pass


class Place:
    """Two servers, and the two files of a profile whose endpoint the first is."""

    def __init__(self):
        self.servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked) for _ in range(2)]
        for server in self.servers:
            server.asked = []
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.of_profile, self.elsewhere = (f"http://127.0.0.1:{server.server_port}" for server in self.servers)
        folder = tempfile.mkdtemp()
        self.variables = {"AWS_CONFIG_FILE": f"{folder}/config", "AWS_SHARED_CREDENTIALS_FILE": f"{folder}/keys"}
        with open(self.variables["AWS_CONFIG_FILE"], "w") as file:
            file.write(f"[profile lake]\nregion = eu-north-1\nendpoint_url = {self.of_profile}\n")
        with open(self.variables["AWS_SHARED_CREDENTIALS_FILE"], "w") as file:
            file.write("[lake]\naws_access_key_id = AKIALAKE\naws_secret_access_key = lake\n")

    def asked(self, words, variables):
        """Who was first heard, for which region, and at which of the servers; then both are as new."""
        run(words, {**self.variables, **variables})
        names = zip(self.servers, ("profile's", "other"), strict=True)
        heard = [(*server.asked[0], name) for server, name in names if server.asked]
        for server in self.servers:
            server.asked.clear()
        return [list(one) for one in heard]


def run(words, variables):
    known = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG")}
    quiet = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"}
    ended = subprocess.run(
        [sys.executable, *words], env={**known, **quiet, **variables}, capture_output=True, text=True, timeout=200
    )
    return ended.stdout.strip()


def storage():
    """Each case of each library."""
    place = Place()
    elsewhere = {"AWS_ENDPOINT_URL": place.elsewhere}
    cases = {
        "the profile": (BY_DEFAULT, PROFILE),
        "own keys": (BY_DEFAULT, {**OWN, **PROFILE}),
        "own keys, profile named": (BY_NAME, OWN),
        "own endpoint, profile named": (BY_NAME, elsewhere),
        "own default region, profile named": (BY_NAME, {"AWS_DEFAULT_REGION": "us-west-2"}),
        "own region": (BY_DEFAULT, {**PROFILE, "AWS_REGION": "us-west-2"}),
    }
    found = {}
    for case, (words, variables) in cases.items():
        found[case] = {library: place.asked(words[library], variables) for library in words}
    keys = {"S3__ENDPOINT": place.of_profile, "S3__ACCESS_KEY_ID": "AKIACAT", "S3__SECRET_ACCESS_KEY": "cat"}
    variables = {f"PYICEBERG_CATALOG__ICE__{name}": value for name, value in keys.items()}
    found["a catalog's keys"] = place.asked(("-c", FILES), {**CATALOG, **variables, **OWN, **elsewhere})
    return found


def others():
    """What PyIceberg reads, and how Databricks' SDK is let in, which asks its host what that is."""
    unity = {"DATABRICKS_HOST": Place().elsewhere, "DATABRICKS_TOKEN": "of-the-catalog"}
    cases = {
        "a property": (READ, {**CATALOG, "PYICEBERG_CATALOG__ICE__URI": "http://own"}),
        "a token": (SDK, unity),
        "a token and a client": (SDK, {**unity, **CLIENT}),
        "a token, a client and a choice": (SDK, {**unity, **CLIENT, "DATABRICKS_AUTH_TYPE": "pat"}),
    }
    with concurrent.futures.ThreadPoolExecutor() as several:
        told = {case: several.submit(run, ("-c", code), variables) for case, (code, variables) in cases.items()}
    return {case: one.result() for case, one in told.items()}
