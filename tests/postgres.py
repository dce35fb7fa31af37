"""A real PostgreSQL for tests: a new cluster in a folder of its own, on a free port, with passwords."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from fleet.servers import free_port, unavailable
from threads import eventually

FAST = ("fsync=off", "shared_buffers=1MB", "max_connections=20", "autovacuum=off")
ADMIN = "a-password-of-the-test"


class Postgres:
    """One server; roles log in by password."""

    def __init__(self, port: int) -> None:
        self.port = port

    def set_password(self, role: str, password: str) -> None:
        """Give a role, made where need be, a password, which takes the place of the last."""
        with self.connect() as admin:
            known = admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
            verb = "ALTER" if known else "CREATE"
            statement = psycopg.sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}")
            admin.execute(statement.format(psycopg.sql.Identifier(role), psycopg.sql.Literal(password)))

    def connect(self) -> Any:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=ADMIN, dbname="postgres", connect_timeout=5
        )

    def answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server for the time of a test; it refuses root, which hands over to Debian's user of that name."""
    programs = programs_of_postgres()
    if programs is None:
        unavailable("no PostgreSQL (Debian's package postgresql)")
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as folder:
        secret, data = Path(folder, "password"), Path(folder, "data")
        secret.write_text(ADMIN)
        data.mkdir()
        if user is not None:
            for path in (folder, secret, data):
                shutil.chown(path, user)
        told = [
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
            "--username=postgres",
            "--no-sync",
            "--locale=C",
            "-E",
            "UTF8",
        ]
        subprocess.run([programs / "initdb", "-D", data, *told], user=user, check=True, capture_output=True, timeout=60)
        server = Postgres(free_port())
        options = [part for option in FAST for part in ("-c", option)]
        listening = ["-p", str(server.port), "-k", folder, "-h", "127.0.0.1"]
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, *listening, *options],
            user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            eventually(server.answers, "PostgreSQL")
            yield server
        finally:
            process.terminate()
            process.wait(20)


def programs_of_postgres() -> Path | None:
    """The folder with the programs of the newest release; Debian keeps them off the path."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    releases = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return releases[-1].parent if releases else None
