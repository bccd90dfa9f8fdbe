"""What jobs do with their secrets at their worst: print, return, raise, pass on, leave behind; each in every form."""

import base64
import html
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time
import urllib.parse

NAMES = ("PLAIN", "ACCOUNT", "DATABASE", "KEY", "LAKE")


def texts():
    """Each secret, and what is derived from it as a program would."""
    found = [os.environ[name] for name in NAMES if name in os.environ]
    if found:
        found.append(json.loads(os.environ["ACCOUNT"])["private"])
        quoted = os.environ["DATABASE"].split("@")[0].split(":")[-1]
        found += json.loads(os.environ["LAKE"]).values()
        found += pathlib.Path(os.environ["CERT"]).read_text().split("\n")[1:2]
        found += [quoted, urllib.parse.unquote(quoted), *os.environ["KEY"].split("\n")[1:4]]
    return found


def forms(text):
    raw = text.encode()
    yield text
    for before in (b"", b"a", b"bc"):
        yield base64.b64encode(before + raw + b"\n").decode()
        yield base64.urlsafe_b64encode(before + raw).decode()
    yield from (raw.hex(), raw.hex().upper())
    yield from (urllib.parse.quote(text), urllib.parse.quote(text, safe=""), urllib.parse.quote_plus(text))
    yield from (json.dumps(text), json.dumps(text, ensure_ascii=False), repr(text), repr(raw), shlex.quote(text))
    yield text.replace("\n", "\r\n")
    yield from (html.escape(text), html.escape(text, quote=False).encode("ascii", "xmlcharrefreplace").decode())
    yield from (text.replace('"', '""'), text.replace("'", "''"), json.dumps(json.dumps(text)))
    yield urllib.parse.quote(urllib.parse.quote(text, safe=""), safe="")


def print_():
    print("hello", os.environ.get("MARK"))
    for text in texts():
        for form in forms(text):
            print("<" + form + ">")
            os.write(2, form.encode() + b"\n")
            for at in range(0, len(form), 7):  # in pieces, as they come out of a slow program
                sys.stdout.write(form[at : at + 7])
                sys.stdout.flush()
            print()


def report():
    with open(os.environ["SEALRUN_METRICS"], "a") as out:
        for form in (form for text in texts() for form in forms(text)):
            metric = {"name": form, "value": 1, "unit": form[:50], "labels": {"of": form, form: os.environ["MARK"]}}
            print(json.dumps(metric), file=out)
            print(json.dumps({"name": "fits", "value": 1, "labels": {form[:200]: form[-200:]}}), file=out)
            print("{" + form, file=out)


def noted():
    return {"list": [{form: object()} for text in texts() for form in forms(text)][:3]}


def returned():
    every = [form for text in texts() for form in forms(text)]
    return {"list": every, "deep": [{"a": {form: form}} for form in every], "joined": ", ".join(every), "ok": 12345}


def raised():
    try:
        raise KeyError(*[form for text in texts() for form in forms(text)])
    except KeyError as error:
        raise RuntimeError("could not log in with " + os.environ["PLAIN"]) from error


def pass_on():
    every = texts()
    code = "import sys; print(sys.argv[1:]); print(open(sys.argv[-1]).read())"
    path = os.path.join(os.environ["TMPDIR"], "handed-over")
    with open(path, "w") as out:
        out.write("\n".join(every))
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], *sys.argv[2:]])"
    subprocess.run([sys.executable, "-c", child, code, *every, path], check=True)
    subprocess.run(["sh", "-c", "env; env >&2; ls /no/such/$KEY"])
    for folder in ("HOME", "TMPDIR"):
        for number, text in enumerate(every):
            with open(os.path.join(os.environ[folder], f"kept-{number}"), "w") as out:
                out.write(text)


def leave():
    root = os.environ["SEALRUN_OUTPUT_DIR"]
    for number, form in enumerate(form for text in texts() for form in forms(text)):
        with open(os.path.join(root, f"file-{number}"), "w") as out:
            out.write("x" * (number * 37) + form)
    for number, text in enumerate(texts()):
        name = text.replace("/", "_").replace("\n", "_")[:200] if "/" in text else text[:200]
        with open(os.path.join(root, f"{number} {name}"), "w") as out:
            out.write("the name tells")
    with open(os.path.join(root, "fine"), "w") as out:
        out.write("nothing in it " + os.environ["MARK"])


def die():
    kept = texts()
    sys.stdout.write("last words " + kept[0])
    sys.stdout.flush()
    os.abort()


def wait():
    kept = texts()
    print("waiting", len(kept), flush=True)
    go = os.path.join(os.environ["TMPDIR"], "go")
    until = time.monotonic() + 60
    while not os.path.exists(go) and time.monotonic() < until:
        time.sleep(0.01)


if __name__ == "__main__":
    {"print": print_, "report": report, "pass_on": pass_on, "leave": leave, "die": die, "wait": wait}[sys.argv[1]]()
