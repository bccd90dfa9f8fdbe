"""A package index on this machine with wheels made here: what the tests install, they need no registry for."""

import hashlib
import http.server
import io
import threading
import zipfile
from types import TracebackType

_HUMANIZE = "def intcomma(number):\n    return f'{number:,}'\n"


class Index:
    """A simple index (PEP 503) of a few tiny wheels, over HTTP on 127.0.0.1."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._wheels = {
            "humanize-4.9.0-py3-none-any.whl": _wheel("humanize", "4.9.0", _HUMANIZE),
            "humanize-4.10.0-py3-none-any.whl": _wheel("humanize", "4.10.0", _HUMANIZE),
        }
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                index.asked.append(self.path)
                body = index._answer(self.path)
                self.send_response(200 if body is not None else 404)
                kind = "application/zip" if self.path.endswith(".whl") else "text/html"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/simple"

    def __enter__(self) -> "Index":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str) -> bytes | None:
        name = path.strip("/").rpartition("/")[2]
        if path.endswith(".whl"):
            return self._wheels.get(name)
        links = "".join(
            f'<a href="/files/{wheel}#sha256={hashlib.sha256(data).hexdigest()}">{wheel}</a>'
            for wheel, data in self._wheels.items()
            if wheel.startswith(f"{name}-")
        )
        return f"<html><body>{links}</body></html>".encode() if links else None


def _wheel(name: str, version: str, code: str) -> bytes:
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
    return out.getvalue()
