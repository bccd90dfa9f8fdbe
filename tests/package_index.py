"""A package index on this machine, with packages of a few lines: what installers need, without a network."""

import base64
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress


def wheel(
    name: str, version: str = "1.0", code: str = "", requires: Sequence[str] = (), script: str | None = None
) -> tuple[str, bytes]:
    """A pure wheel with one module of the package's name, and its file's name."""
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    files = {
        f"{module}.py": f"VERSION = {version!r}\n{code}",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {one}\n" for one in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script is not None:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script} = {module}:main\n"
    record = "".join(f"{path},sha256={_sha(text)},{len(text)}\n" for path, text in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return f"{module}-{version}-py3-none-any.whl", made.getvalue()


def sdist(name: str, backend: str, version: str = "1.0") -> tuple[str, bytes]:
    """A source distribution that is built by code of its own, and its file's name.

    `backend` is put at the end of a build backend that makes a wheel without anything in it.
    """
    module = name.replace("-", "_")
    built, data = wheel(name, version)
    code = (
        f"import base64, os\nDATA = {base64.b64encode(data)!r}\n"
        "def build_wheel(folder, settings=None, metadata=None):\n"
        "    act()\n"
        f"    with open(os.path.join(folder, {built!r}), 'wb') as file:\n"
        "        file.write(base64.b64decode(DATA))\n"
        f"    return {built!r}\n{backend}"
    )
    pyproject = (
        f"[project]\nname = {name!r}\nversion = {version!r}\n"
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    )
    info = f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n"
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for path, text in {"pyproject.toml": pyproject, "backend.py": code, "PKG-INFO": info}.items():
            member = tarfile.TarInfo(f"{module}-{version}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return f"{module}-{version}.tar.gz", made.getvalue()


class Index:
    """What it serves, and what was asked of it."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.asked: Counter[str] = Counter()
        self.login: Mapping[str, str] = {}
        """Per package: `user:password`, without which it is not given."""
        self.held: dict[str, threading.Event] = {}
        """Per file: it is given when this is set."""
        self.url = ""

    def add(self, *packages: tuple[str, bytes]) -> None:
        """Serve these, as `wheel` and `sdist` make them."""
        for name, data in packages:
            self.files.setdefault(name.partition("-")[0], {})[name] = data

    def hold(self, file: str) -> threading.Event:
        """From now on a file is given once the answer is set."""
        self.held[file] = threading.Event()
        return self.held[file]

    def hash_of(self, beginning: str) -> str:
        """The SHA-256 of the file whose name begins so."""
        return hashlib.sha256(self._file(beginning)[1]).hexdigest()

    def uv_lock(self, beginnings: Sequence[str]) -> str:
        """A uv.lock of a project `x` that depends on the first of these, which depends on the others."""
        names = [beginning.rpartition("-")[0].replace("_", "-") for beginning in beginnings]
        text = 'version = 1\nrevision = 1\nrequires-python = ">=3.9"\n'
        for name, beginning in zip(names, beginnings, strict=True):
            file, data = self._file(beginning)
            url = f"{self.url}/{name}/{file}"
            text += f'\n[[package]]\nname = "{name}"\nversion = "{beginning.rpartition("-")[2]}"\n'
            text += f'source = {{ registry = "{self.url}" }}\n'
            if name == names[0]:
                text += "dependencies = [{}]\n".format(", ".join(f'{{ name = "{one}" }}' for one in names[1:]))
            text += f'wheels = [{{ url = "{url}", hash = "sha256:{self.hash_of(beginning)}", size = {len(data)} }}]\n'
        return (
            f'{text}\n[[package]]\nname = "x"\nversion = "1"\nsource = {{ virtual = "." }}\n'
            f'dependencies = [{{ name = "{names[0]}" }}]\n\n'
            f'[package.metadata]\nrequires-dist = [{{ name = "{names[0]}" }}]\n'
        )

    def _file(self, beginning: str) -> tuple[str, bytes]:
        files = self.files[beginning.rpartition("-")[0]]
        (name,) = [name for name in files if name.startswith(beginning)]
        return name, files[name]

    def answer(self, path: str, authorization: str | None, whole: bool) -> tuple[int, str, bytes]:
        self.asked[path] += whole
        parts = path.strip("/").split("/")
        package = parts[1].replace("-", "_") if len(parts) > 1 else ""
        login = self.login.get(package)
        if login is not None and authorization != f"Basic {base64.b64encode(login.encode()).decode()}":
            return 401, "text/plain", b"who are you?"
        files = self.files.get(package, {})
        if len(parts) == 2 and files:
            links = "".join(
                f'<a href="{name}#sha256={hashlib.sha256(data).hexdigest()}">{name}</a>\n'
                for name, data in files.items()
            )
            return 200, "text/html", f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
        if len(parts) == 3 and parts[2] in files:
            if whole and (gate := self.held.get(parts[2])) is not None:
                gate.wait(60)
            return 200, "application/octet-stream", files[parts[2]]
        return 404, "text/plain", b"no such thing"


@contextmanager
def package_index() -> Iterator[Index]:
    """An index that serves as long as the context lasts."""
    index = Index()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = index.answer(
                self.path.partition("?")[0], self.headers["Authorization"], self.command != "HEAD"
            )
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                with suppress(OSError):  # an installer that was killed does not listen
                    self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    index.url = f"http://127.0.0.1:{server.server_address[1]}/simple"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        for gate in index.held.values():
            gate.set()
        server.shutdown()
        server.server_close()


def _sha(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
