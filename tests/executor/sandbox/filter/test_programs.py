"""Real programs go on under each filter, unchanged; see also what the table says it costs."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executor.sandbox import filter as filters
from tests.executor.sandbox.filter.machine import filtered, forked, judged

FILTERS = ["landlock", pytest.param("landlock without a judge", marks=pytest.mark.long), "namespace"]
JUDGED = filters.probe() == "judged"
# Long: what is not part of Python, nor started by nearly every job.
long = pytest.mark.long


@pytest.fixture(params=FILTERS)
def rung(request: pytest.FixtureRequest) -> str:
    given: str = request.param
    if given == "landlock" and not JUDGED:
        pytest.skip("this kernel does not ask about calls")
    return given


@pytest.fixture
def home(open_folder: Path) -> Iterator[Path]:
    """The run's own folder, which its sockets lie in: a short name, as a socket's has at most 107 bytes."""
    yield open_folder


def run(
    rung: str, home: Path, *command: str, timeout: int = 120, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Start a program under a filter."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), **environment}

    def look() -> list[Any]:
        ended = subprocess.run(
            command, cwd=home, env=variables, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )
        return [ended.returncode, ended.stdout, ended.stderr]

    if rung == "landlock":
        ended = judged(look, str(home))
    else:
        ended = forked(look, filtered(rung) if rung == "namespace" else filtered("landlock", unix="refused"))
    return subprocess.CompletedProcess(command, *ended)


def python(rung: str, home: Path, code: str, *, interpreter: str = sys.executable) -> str:
    """What a file of Python prints, which has to end well."""
    (home / "job.py").write_text(textwrap.dedent(code))
    ended = run(rung, home, interpreter, "job.py")
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout.strip()


METHODS = """
    import multiprocessing, sys, os
    def work(queue, number): queue.put(number * os.getpid() // os.getpid())
    if __name__ == "__main__":
        context = multiprocessing.get_context(sys.argv[1] if sys.argv[1:] else "METHOD")
        queue = context.Queue()
        workers = [context.Process(target=work, args=(queue, number)) for number in (1, 2)]
        [one.start() for one in workers]
        print(sum(queue.get() for _ in workers))
        [one.join() for one in workers]
        with context.Pool(2) as pool: print(pool.map(abs, [-1, -2]))
"""


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=long), "forkserver"])
def test_multiprocessing(rung: str, home: Path, method: str) -> None:
    """Of every start method; forkserver talks over a unix socket, which has to be judged."""
    if method == "forkserver" and rung == "landlock without a judge":
        pytest.skip("its sockets are refused there, which the receipt says")
    assert python(rung, home, METHODS.replace("METHOD", method)) == "3\n[1, 2]"


def test_a_manager_serves_its_processes(rung: str, home: Path) -> None:
    """Over a unix socket in the temporary folder."""
    if rung == "landlock without a judge":
        pytest.skip("its sockets are refused there, which the receipt says")
    code = """
        import multiprocessing
        def work(shared): shared["x"] = 7
        if __name__ == "__main__":
            with multiprocessing.Manager() as manager:
                shared = manager.dict()
                one = multiprocessing.Process(target=work, args=(shared,)); one.start(); one.join()
                print(shared["x"])
    """
    assert python(rung, home, code) == "7"


def test_the_standard_library(rung: str, home: Path) -> None:
    """Threads, pools, asyncio with sockets and processes, subprocess, priorities, temporary files."""
    code = """
        import asyncio, concurrent.futures, os, resource, socket, subprocess, sys, tempfile, threading
        async def main():
            async def serve(reader, writer):
                writer.write(await reader.readline()); await writer.drain(); writer.close()
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"tcp\\n"); print((await reader.readline()).decode().strip()); writer.close()
            server.close()
            one = await asyncio.create_subprocess_exec("echo", "process", stdout=-1)
            print((await one.communicate())[0].decode().strip())
            print(await asyncio.to_thread(lambda: "thread"))
        if __name__ == "__main__":
            asyncio.run(main())
            with concurrent.futures.ThreadPoolExecutor() as pool: print(sum(pool.map(abs, range(-3, 0))))
            with concurrent.futures.ProcessPoolExecutor(2) as pool: print(sum(pool.map(abs, range(-3, 0))))
            print(subprocess.run(["sh", "-c", "ulimit -n 100; nice -n 5 echo nice | cat"], capture_output=True).stdout)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.nice(1)
            os.sched_setaffinity(0, os.sched_getaffinity(0))
            print(socket.getaddrinfo("127.0.0.1", 80)[0][4], bool(socket.if_nameindex()))
            with tempfile.TemporaryFile() as file: print(file.write(b"x"))
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("127.0.0.1", 0))
            udp.sendto(b"udp", udp.getsockname()); print(udp.recv(9))
    """
    expected = "tcp\nprocess\nthread\n6\n6\nb'nice\\n'\n('127.0.0.1', 80) True\n1\nb'udp'"
    assert python(rung, home, code) == expected


def test_unix_servers_of_its_own(rung: str, home: Path) -> None:
    """As a database or a language server that a job starts for itself."""
    if rung == "landlock without a judge":
        pytest.skip("its sockets are refused there, which the receipt says")
    code = """
        import asyncio
        async def main():
            async def serve(reader, writer):
                writer.write(await reader.readline()); await writer.drain(); writer.close()
            server = await asyncio.start_unix_server(serve, "own.sock")
            reader, writer = await asyncio.open_unix_connection("own.sock")
            writer.write(b"unix\\n"); print((await reader.readline()).decode().strip()); writer.close()
            server.close()
        asyncio.run(main())
    """
    assert python(rung, home, code) == "unix"


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} on this machine")
    return found


def test_git(rung: str, home: Path) -> None:
    """It makes a repository, commits and clones it."""
    needs("git")
    script = (
        "git init -q a && cd a && echo x > f && git add f && git -c user.name=n -c user.email=e commit -qm m && "
        "cd .. && git clone -q file://$PWD/a b && cat b/f"
    )
    ended = run(rung, home, "sh", "-c", script)
    assert (ended.stdout, ended.returncode) == ("x\n", 0), ended.stderr


def test_node(rung: str, home: Path) -> None:
    """Its event loop, threads, child processes and a server."""
    needs("node")
    code = """
        const net = require("net"), fs = require("fs"), cp = require("child_process");
        const { Worker } = require("worker_threads");
        const server = net.createServer(s => s.end("tcp")).listen(0, "127.0.0.1", () => {
          net.connect(server.address().port, "127.0.0.1").on("data", d => { console.log(String(d)); server.close(); });
        });
        server.on("close", () => fs.promises.readFile(__filename).then(() => {
          console.log(cp.execSync("echo process").toString().trim());
          new Worker("require('worker_threads').parentPort.postMessage('thread')", { eval: true })
            .on("message", m => console.log(m));
        }));
    """
    (home / "job.js").write_text(code)
    ended = run(rung, home, "node", "job.js")
    assert (ended.stdout, ended.returncode) == ("tcp\nprocess\nthread\n", 0), ended.stderr


@long
def test_a_debugger_and_a_tracer_of_its_own_child(rung: str, home: Path) -> None:
    """gdb takes addresses at random away and writes memory; strace stops each call."""
    needs("gdb")
    commands = [
        "gdb",
        "-q",
        "-nx",
        "-batch",
        "-ex",
        "break main",
        "-ex",
        "run",
        "-ex",
        "info registers rip",
        "-ex",
        "kill",
    ]
    (home / "a.c").write_text("int main(void) { return 7; }")
    assert run(rung, home, needs("gcc"), "-g", "a.c", "-o", "a").returncode == 0
    ended = run(rung, home, *commands, "./a")
    assert "Breakpoint 1, main" in ended.stdout and "disabling" not in ended.stderr, ended.stderr
    if shutil.which("strace"):
        traced = run(rung, home, "strace", "-f", "-o", "log", "sh", "-c", "echo x | cat")
        assert traced.stdout == "x\n" and "execve" in (home / "log").read_text()


@long
def test_java(rung: str, home: Path) -> None:
    """A source file, threads and a process."""
    needs("java")
    (home / "A.java").write_text(
        "public class A { public static void main(String[] a) throws Exception {"
        '  Thread t = new Thread(() -> System.out.println("thread")); t.setPriority(1); t.start(); t.join();'
        '  System.out.print(new String(new ProcessBuilder("echo", "process").start().getInputStream().readAllBytes()));'
        "  System.out.println(java.util.stream.IntStream.range(0, 1000).parallel().sum()); } }"
    )
    ended = run(rung, home, "java", "A.java")
    if "no compiler" in ended.stderr or "jdk.compiler" in ended.stderr:
        ended = run(rung, home, "java", "-version")
        assert ended.returncode == 0
        pytest.skip("no compiler of Java on this machine; it starts")
    assert ended.stdout == "thread\nprocess\n499500\n", ended.stderr


@long
def test_tmux_and_ssh_agent_of_its_own(rung: str, home: Path) -> None:
    """Servers over a unix socket in its own folder; those of its user elsewhere are refused, see `test_judge`."""
    needs("tmux")
    if rung == "landlock without a judge":
        pytest.skip("its sockets are refused there, which the receipt says")
    script = (
        "tmux -S $HOME/t new-session -d 'sleep 60' && tmux -S $HOME/t list-sessions -F ok; "
        "tmux -S $HOME/t kill-server; "
        "eval $(ssh-agent -a $HOME/a) >/dev/null; ssh-add -l; kill $SSH_AGENT_PID"
    )
    ended = run(rung, home, "sh", "-c", script)
    assert ended.stdout == "ok\nThe agent has no identities.\n", ended.stderr


def test_tmux_of_the_same_user_takes_no_command(home: Path) -> None:
    """It would run what it is told outside of the run; without the filter it does."""
    needs("tmux")
    if not JUDGED:
        pytest.skip("this kernel does not ask about calls")
    (home / "own").mkdir()
    server, told = str(home / "t"), home / "told"
    subprocess.run(["tmux", "-S", server, "new-session", "-d", "sleep 120"], check=True)
    try:
        command = ["tmux", "-S", server, "run-shell", f"touch {told}"]
        ended = run("landlock", home / "own", *command)
        assert ended.returncode != 0 and not told.exists()
        assert subprocess.run(command, timeout=60).returncode == 0 and told.exists()
    finally:
        subprocess.run(["tmux", "-S", server, "kill-server"], check=False)


LIBRARIES = os.environ.get("SEALRUN_TEST_LIBRARIES", "")
"""A Python with numpy, pandas, Polars, DuckDB and torch."""


def library(name: str) -> str:
    for interpreter in (LIBRARIES, sys.executable):
        if interpreter and subprocess.run([interpreter, "-c", f"import {name}"], capture_output=True).returncode == 0:
            return interpreter
    pytest.skip(f"no Python with {name}: SEALRUN_TEST_LIBRARIES")


COMPUTED = {
    "numpy": "import numpy; a = numpy.ones((300, 300)); print(int((a @ a).sum()))",
    "pandas": "import pandas; print(pandas.DataFrame({'a': range(9)}).groupby(lambda i: i % 2).sum()['a'].tolist())",
    "polars": "import polars as p; print(p.DataFrame({'a': range(10**4)}).lazy().sum().collect().item())",
    "duckdb": "import duckdb; print(duckdb.connect('a.db').execute('select sum(range) from range(9)').fetchall())",
}


@pytest.mark.ecosystem
@pytest.mark.parametrize("name", COMPUTED)
def test_libraries_for_data(rung: str, home: Path, name: str) -> None:
    """They start threads of their own, and some pin them."""
    results = {"numpy": "27000000", "pandas": "[20, 16]", "polars": "49995000", "duckdb": "[(36,)]"}
    assert python(rung, home, COMPUTED[name], interpreter=library(name)) == results[name]


@pytest.mark.ecosystem
@pytest.mark.parametrize("sharing", ["file_descriptor", "file_system"])
def test_torchs_loader(rung: str, home: Path, sharing: str) -> None:
    """Its workers hand tensors over: descriptors by a unix socket, or names of shared memory by its own manager."""
    if rung == "landlock without a judge":
        pytest.skip("its sockets are refused there, which the receipt says")
    code = f"""
        import torch, torch.multiprocessing as m
        from torch.utils.data import DataLoader, TensorDataset
        if __name__ == "__main__":
            m.set_sharing_strategy({sharing!r})
            for context in ("fork", "spawn", "forkserver"):
                loader = DataLoader(TensorDataset(torch.arange(64)), batch_size=8, num_workers=2,
                                    multiprocessing_context=context)
                print(int(sum(batch[0].sum() for batch in loader)))
            print(int(torch.ones(200, 200).mm(torch.ones(200, 200)).sum()))
    """
    assert python(rung, home, code, interpreter=library("torch")) == "2016\n2016\n2016\n8000000"


@long
def test_uv(rung: str, home: Path) -> None:
    """It makes an environment and runs in it, offline."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or needs("uv")
    made = run(
        rung, home, uv, "venv", "--offline", "--python", sys.executable, "made", UV_CACHE_DIR=str(home / "cache")
    )
    assert made.returncode == 0, made.stderr
    ended = run(
        rung, home, uv, "pip", "list", "--offline", "--python", "made/bin/python", UV_CACHE_DIR=str(home / "cache")
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.ecosystem
def test_a_browser(rung: str, home: Path) -> None:
    """With --no-sandbox, as its own needs namespaces, and with its shared memory in the run's own temporary folder."""
    if rung == "landlock without a judge":
        pytest.skip("its sockets are refused there, which the receipt says")
    names = ("chromium-headless-shell", "chromium", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no chromium on this machine")
    (home / "a.html").write_text("<p id=p>x</p><script>p.textContent = 6 * 7</script>")
    options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", f"--user-data-dir={home}/profile"]
    ended = run(rung, home, browser, "--headless", *options, "--dump-dom", f"file://{home}/a.html")
    assert '<p id="p">42</p>' in ended.stdout, ended.stderr[-3000:]
