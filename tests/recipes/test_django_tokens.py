"""The recipe for Django, in a project of its own: ``runserver`` and its reloader, a command, gunicorn, ASGI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from serving import DEADLINE_S, RECIPES, assert_no_secret, environment_for, free_port, program, reject_next

from oidc_actor.testing import Provider

PROJECT = {
    "settings.py": """
        SECRET_KEY = "of a test"
        DEBUG = False
        ALLOWED_HOSTS = ["*"]
        ROOT_URLCONF = "urls"
        INSTALLED_APPS = ["shop"]
        MIDDLEWARE = ["django_tokens.NoTokenMiddleware"]
        WSGI_APPLICATION = "wsgi.application"
        USE_TZ = True
    """,
    "urls.py": """
        import django_tokens
        from django.urls import path

        urlpatterns = [path(view.__name__, view) for view in (django_tokens.items, django_tokens.livez, django_tokens.readyz)]
    """,
    "wsgi.py": """
        import os
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
        from django.core.wsgi import get_wsgi_application
        application = get_wsgi_application()
    """,
    "asgi.py": """
        import os
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
        from django.core.asgi import get_asgi_application
        application = get_asgi_application()
    """,
    "manage.py": """
        import os
        import sys
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
    """,
    "shop/__init__.py": "",
    "shop/management/__init__.py": "",
    "shop/management/commands/__init__.py": "",
    "shop/management/commands/fetch_items.py": """
        import os
        import django_tokens
        import requests
        from django.core.management.base import BaseCommand

        class Command(BaseCommand):
            def handle(self, *args, **options):
                self.stdout.write(str(requests.get(os.environ["API_URL"] + "/resource", auth=django_tokens.auth()).status_code))
    """,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip())
    return tmp_path


def environment(provider: Provider, project: Path) -> dict[str, str]:
    return {
        **environment_for(provider),
        "HOME": str(project),
        "PYTHONPATH": os.pathsep.join([str(project), str(RECIPES)]),
    }


def gunicorn(project: Path, provider: Provider, *arguments: str) -> tuple[list[str], Path, dict[str, str], int]:
    port = free_port()
    command = ["-m", "gunicorn", "-b", f"127.0.0.1:{port}", *arguments]
    return command, project / "log", environment(provider, project), port


@pytest.mark.oidc_provider(token_lifetime_s=3600)
def test_the_development_server_reloads_and_commands_end(oidc_provider: Provider, project: Path) -> None:
    def manage(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=project,
            env={**os.environ, **environment(oidc_provider, project)},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=True,
        )
        return done.stdout

    manage("check")
    assert oidc_provider.token_requests == 0, "a command that needs no token asks for none"
    assert manage("fetch_items") == "200\n"
    assert oidc_provider.token_requests == 1

    port = free_port()
    command = [str(project / "manage.py"), "runserver", str(port)]
    with program(command, project / "log", environment(oidc_provider, project), port) as server:
        server.wait_for("/readyz")
        (pid,) = server.pids("/items", 1)
        assert pid != server.process.pid, "the reloader is another process"
        assert oidc_provider.token_requests == 2, "which has no manager"

        with (project / "urls.py").open("a") as urls:
            urls.write("# changed\n")
        server.eventually(lambda: server.pids("/items", 1) != {pid}, "reload")
        assert oidc_provider.token_requests == 3

        assert server.terminate() == 0


@pytest.mark.oidc_provider(token_lifetime_s=3600)
def test_wsgi_workers_serve_are_killed_and_end(oidc_provider: Provider, project: Path) -> None:
    with program(*gunicorn(project, oidc_provider, "--workers", "2", "--preload", "wsgi")) as server:
        server.wait_for("/readyz")
        both = server.pids("/items", 2)
        assert oidc_provider.tokens_issued == 2, "one for each worker, none for the process that forks them"

        reject_next(oidc_provider)
        assert server.get("/items").json()["status"] == 200, "sent again with a new token"
        assert oidc_provider.tokens_issued == 3

        victim = both.pop()
        os.kill(victim, signal.SIGKILL)
        server.eventually(lambda: "Booting worker" in server.log.split(f"(pid:{victim})")[-1], "new worker")
        assert victim not in server.pids("/items", 2)
        assert oidc_provider.tokens_issued == 4

        assert server.terminate() == 0
        assert_no_secret(server, oidc_provider)


def test_asgi_starts_in_an_outage(oidc_provider: Provider, project: Path) -> None:
    oidc_provider.down()
    port = free_port()
    command = ["-m", "uvicorn", "--lifespan", "off", "--port", str(port), "asgi:application"]
    with program(command, project / "log", environment(oidc_provider, project), port) as server:
        server.wait_for("/livez")
        assert server.get("/readyz").status_code == 503
        refused = server.get("/items")
        assert refused.status_code == 503, refused.text
        assert int(refused.headers["Retry-After"]) >= 0

        oidc_provider.up()
        server.wait_for("/readyz")
        assert server.wait_for("/items").json()["status"] == 200
        assert server.terminate() == -signal.SIGTERM
        assert_no_secret(server, oidc_provider)
