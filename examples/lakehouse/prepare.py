"""Makes a small lakehouse on this machine, and the project "lakehouse" whose runs know it by name.

    python3 examples/lakehouse/prepare.py

It shows what it calls: the same commands make a lakehouse of one's own known. Called again, it starts a server that
has ended, and makes what is missing.
"""

import http.client
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = ["-p", "lakehouse"]
REGION = "eu-central-1"
HERE = Path(__file__).resolve().parent


def main():
    sealrun = program("sealrun")
    typed(sealrun, "project", "create", "lakehouse")
    server = serving(sealrun) or start(program("uv", beside=sealrun))
    ending = f"it ends after an hour, or by: kill {server['pid']}"
    print(f"moto serves S3 and Glue at {server['endpoint']}; {ending}", flush=True)
    if not any(secret["name"] == "LAKE_KEYS" for secret in asked(sealrun, "secret", "list", *PROJECT)):
        # Made up here and told to nobody, as moto takes any.
        keys = {"aws_access_key_id": f"AKIA{secrets.token_hex(8)}", "aws_secret_access_key": secrets.token_urlsafe(30)}
        typed(sealrun, "secret", "set", "LAKE_KEYS", *PROJECT, stdin=json.dumps(keys))
    place = ["--endpoint", server["endpoint"], "--region", REGION]
    lake = ["--kind", "s3", "--bucket", "raw", "--prefix", "shop", *place, "--credentials-secret", "LAKE_KEYS"]
    typed(sealrun, "source", "create", "lake", *PROJECT, *lake, "--replace")
    main = ["--kind", "glue", *place, "--warehouse", "s3://warehouse", "--source", "lake"]
    typed(sealrun, "catalog", "create", "main", *PROJECT, *main, "--replace")
    print("\nNow run the pipeline:")
    target = f"{os.path.relpath(HERE)}/pipeline.py:pipeline"
    print(f"sealrun run -p lakehouse --source raw=lake --catalog warehouse=main {target}")


def program(name, beside=None):
    """Where a program is: on PATH, or in the environment that has this Python or sealrun."""
    folders = [os.environ.get("PATH", os.defpath), os.path.dirname(sys.executable)]
    folders += [os.path.dirname(os.path.realpath(beside))] if beside else []
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        sys.exit(f"prepare: there is no {name} on PATH; activate the environment that has it: . .venv/bin/activate")
    return found


def typed(sealrun, *words, stdin=""):
    """Show a command and run it; what goes into its stdin is not shown. Where it fails it has said why."""
    print("$ sealrun", *words, flush=True)
    ended = subprocess.run([sealrun, *words], input=stdin, text=True)
    if ended.returncode != 0:
        sys.exit(ended.returncode)


def asked(sealrun, *words):
    """What a command says as JSON."""
    ended = subprocess.run([sealrun, *words, "--json"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    if ended.returncode != 0:
        sys.exit(ended.returncode)
    return json.loads(ended.stdout)


def serving(sealrun):
    """The server that the source `lake` leads to, while it lives."""
    for source in asked(sealrun, "source", "list", *PROJECT):
        endpoint = source["settings"].get("endpoint", "")
        if source["name"] == "lake" and endpoint.startswith("http://127.0.0.1:"):
            connection = http.client.HTTPConnection(endpoint.partition("//")[2], timeout=10)
            try:
                connection.request("GET", "/pid")
                answer = connection.getresponse().read(20)
            except (OSError, http.client.HTTPException):
                return None
            return {"endpoint": endpoint, "pid": int(answer)} if answer.isdigit() else None
    return None


def start(uv):
    """Install moto into an environment of its own, which uv keeps in its cache, and start server.py in it."""
    script = str(HERE / "server.py")
    print("installing moto into an environment of its own", flush=True)
    if subprocess.run([uv, "sync", "--script", script, "--quiet"]).returncode != 0:
        sys.exit("prepare: moto could not be installed")
    found = subprocess.run([uv, "python", "find", "--script", script], stdout=subprocess.PIPE, check=True, text=True)
    with tempfile.TemporaryFile() as said:
        server = subprocess.Popen(
            [found.stdout.strip(), script],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
        try:
            ready = server.stdout.readline()  # it says one thing, once it is ready; an end of file is the end of it
        except KeyboardInterrupt:
            server.kill()
            raise
        if not ready:
            said.seek(0)
            sys.exit(f"prepare: the server ended:\n{said.read().decode(errors='replace')}")
    return json.loads(ready)


if __name__ == "__main__":
    main()
