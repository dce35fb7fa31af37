"""Debian's Chromium without a screen, driven by its own driver; and the observer behind a real server, in this process."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import uvicorn
from serving import free_port
from threads import DEADLINE_S, eventually

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


def unavailable(reason: str) -> NoReturn:
    if os.environ.get("OIDC_ACTOR_REQUIRE_PROVIDERS") == "1":
        pytest.fail(f"a browser is required: {reason}")
    pytest.skip(reason)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser with a profile of its own; skips where there is none."""
    for needed in (CHROMIUM, DRIVER):
        if shutil.which(needed) is None:
            unavailable(f"no {needed}: apt-get install chromium chromium-driver")
    from selenium import webdriver

    profile = tempfile.mkdtemp()
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in (*OPTIONS, f"--user-data-dir={profile}", "--window-size=1440,900"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.set_page_load_timeout(3 * DEADLINE_S)
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


class Served:
    """An application behind uvicorn, on a thread."""

    def __init__(self, app: Any) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        config = uvicorn.Config(app, port=port, log_level="error", lifespan="off", loop="asyncio")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive(), "the server waits for a stream"


@contextlib.contextmanager
def serving(app: Any) -> Iterator[Served]:
    served = Served(app)
    served.thread.start()
    eventually(lambda: served.server.started, "the server")
    try:
        yield served
    finally:
        served.stop()


class Window:
    """What a person sees and does."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def set(self, *, width: int = 1440, height: int = 900, dark: bool = False) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def open(self, url: str) -> None:
        self.driver.get("about:blank")  # the page before this one looks for its server, which is gone
        self.complaints()
        self.driver.get(url)
        self.eventually(lambda: self.js("return document.querySelectorAll('#rows tr').length") > 0, "rows")

    def js(self, script: str, *args: Any) -> Any:
        return self.driver.execute_script(script, *args)

    def rows(self) -> list[str]:
        script = "return [...document.querySelectorAll('#rows tr')].map(one => one.querySelector('.label').textContent)"
        return list(self.js(script))

    def text(self, label: str) -> str:
        """All that the row of that label says."""
        return str(
            self.js(
                "const row = [...document.querySelectorAll('#rows tr')]"
                ".find(one => one.querySelector('.label').textContent === arguments[0]); return row ? row.innerText : ''",
                label,
            )
        )

    def focused(self) -> str:
        script = "const row = document.activeElement.closest('tr'); return row ? row.querySelector('.label').textContent : ''"
        return str(self.js(script))

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def eventually(self, condition: Callable[[], object], what: str) -> None:
        eventually(condition, what, deadline_s=2 * DEADLINE_S)

    def complaints(self) -> list[str]:
        """What the console has: errors, and what the policy has refused."""
        return [one["message"] for one in self.driver.get_log("browser") if one["level"] in ("SEVERE", "WARNING")]

    def picture(self, path: Path) -> None:
        self.driver.save_screenshot(str(path))
