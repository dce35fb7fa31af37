"""The page in a real browser: it loads, shows what happens, needs no mouse, fits wide and narrow, dark and light."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import AUTH, ISSUER, ScriptedTransport, refused
from observer.browser import Window, chromium, serving
from threads import in_background

from oidc_actor import TokenManager, TokenPool
from oidc_actor.observing import managers
from supervision import Backoff, ChildSpec, DynamicSupervisor, Server, Supervisor, cast, kill
from supervision.observer import Observer

pytest.importorskip("selenium")

PICTURES = os.environ.get("OIDC_ACTOR_PICTURES")
"""A folder that the pictures of the observer's page are drawn anew into."""


class Worker(Server):
    def on_receive(self, message: Any) -> Any:
        raise ValueError(message)


class NoDisk(Server):
    starts = 0

    def on_start(self) -> None:
        NoDisk.starts += 1
        if NoDisk.starts > 1:
            raise OSError("no disk")


@pytest.fixture(scope="module")
def browser() -> Iterator[Window]:
    with chromium() as driver:
        yield Window(driver)


@pytest.fixture
def shop() -> str:
    """Some of everything."""
    NoDisk.starts = 0
    given: dict[str, Any] = {"auth": AUTH, "issuer_url": ISSUER}
    bad = ScriptedTransport(*[refused("invalid_client", 401, "the client is not known")] * 50)
    Supervisor.start_link(
        [
            TokenManager.child_spec(name="billing.token", transport=ScriptedTransport(lifetime=300), **given),
            TokenManager.child_spec(name="reports.token", transport=bad, **given),
            Supervisor.child_spec([Worker.child_spec(name=f"till {one}") for one in range(4)], id="tills"),
            TokenPool.child_spec(name="tenants", transport=ScriptedTransport(lifetime=3600), **given),
            DynamicSupervisor.child_spec(id="sessions", name="sessions"),
            ChildSpec("archive", NoDisk, name="archive", backoff=Backoff(initial=60, maximum=60, jitter=0)),
            ChildSpec("<img src=x onerror=alert(1)>", Worker),
        ],
        name="shop",
    )
    TokenManager.get_token("billing.token")
    for number in range(3):
        TokenPool.put("tenants", number)
        TokenPool.get_token("tenants", number)
    for number in range(120):
        DynamicSupervisor.start_child("sessions", Worker.child_spec(name=f"session {number}"))
    return "shop"


def test_a_person_sees_what_happens_within_two_seconds(browser: Window, shop: str) -> None:
    with serving(Observer(shop, parts=[managers()])) as served:
        browser.set()
        browser.open(served.url)
        assert browser.rows()[:5] == ["shop", "billing.token", "reports.token", "tills", "till 0"]
        assert "<img src=x onerror=alert(1)>" in browser.rows()
        browser.eventually(lambda: "fresh" in browser.text("billing.token"), "the token")
        browser.eventually(lambda: "invalid_client" in browser.text("reports.token"), "the refusal")
        assert "120 children" in browser.text("sessions")
        began = time.monotonic()
        kill("till 2")
        browser.eventually(lambda: "KILLED" in browser.text("till 2"), "the killed actor")
        seen_s = time.monotonic() - began
        browser.eventually(lambda: "till 2" in browser.js("return document.querySelector('#events').innerText"), "why")
        assert browser.js("return document.querySelector('#events li').innerText") != ""
        assert not browser.complaints()
        assert seen_s < 2.0 or not os.environ.get("OIDC_ACTOR_QUIET")  # that it is two is asked where nothing else runs
    browser.eventually(lambda: "lost" in browser.js("return document.querySelector('#link').dataset.state"), "the loss")


def test_a_page_needs_no_mouse(browser: Window, shop: str) -> None:
    from selenium.webdriver.common.keys import Keys

    with serving(Observer(shop, parts=[managers()])) as served:
        browser.set()
        browser.open(served.url)
        for _ in range(4):  # the link that skips the head, the search, then the row that can be reached
            browser.press(Keys.TAB)
            if browser.focused():
                break
        assert browser.focused() == "shop"
        assert browser.js("return getComputedStyle(document.activeElement).outlineStyle") != "none"
        browser.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
        assert browser.focused() == "tills"
        browser.press(Keys.ARROW_RIGHT)
        assert browser.focused() == "till 0"
        browser.press(Keys.ARROW_LEFT)
        assert browser.focused() == "tills"
        browser.press(Keys.ARROW_LEFT)
        browser.eventually(lambda: "till 0" not in browser.rows(), "the closed supervisor")
        browser.eventually(lambda: browser.focused() == "tills", "the focus, where it was")
        browser.press(Keys.END)
        for _ in range(3):
            if browser.focused() == "sessions":
                break
            browser.press(Keys.ARROW_UP)
        assert browser.focused() == "sessions"
        browser.press(Keys.ENTER)
        browser.eventually(lambda: "session 49" in browser.rows(), "the open pool")
        assert "session 50" not in browser.rows()
        browser.press(Keys.PAGE_DOWN)
        browser.eventually(lambda: "session 99" in browser.rows(), "the next ones")
        assert browser.js("return document.activeElement.getAttribute('aria-expanded')") == "true"
        browser.press("/")
        browser.press("session 11", Keys.ENTER)
        browser.eventually(lambda: "session 110" in browser.rows() and "shop" not in browser.rows(), "what was found")
        assert "11 found" in browser.js("return document.querySelector('#found').textContent")
        browser.press(Keys.ESCAPE)
        browser.eventually(lambda: "shop" in browser.rows(), "the tree")
        roles = browser.js(
            "return [...document.querySelectorAll('#rows tr')].every(one => one.getAttribute('role') === 'row' && "
            "one.ariaLevel && one.ariaPosInSet && one.ariaSetSize)"
        )
        assert roles
        assert browser.js("return document.querySelectorAll('#rows tr[tabindex=\"0\"]').length") == 1
        assert not browser.complaints()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 900, 390])
def test_it_fits_and_can_be_read(browser: Window, shop: str, width: int, dark: bool) -> None:
    with serving(Observer(shop, parts=[managers()])) as served:
        browser.set(width=width, height=844 if width < 500 else 900, dark=dark)
        browser.open(served.url)
        kill("archive")
        in_background(lambda: cast("till 1", "x"))
        browser.eventually(lambda: "OSError" in browser.text("archive") or "KILLED" in browser.text("archive"), "a row")
        assert browser.js("return document.documentElement.scrollWidth") <= width
        paper = browser.js("return getComputedStyle(document.body).backgroundColor")
        shade = sum(int(one) for one in paper.removeprefix("rgb(").removesuffix(")").split(",")) / 3
        assert (shade < 64) if dark else (shade > 192)
        assert browser.js(CONTRASTS) == []
        hidden = browser.js("return getComputedStyle(document.querySelector('thead')).position")
        assert (hidden == "absolute") is (width < 700)
        assert not browser.complaints()
        if PICTURES and width != 900:
            threading.Event().wait(3.0)  # until nothing is lit up
            browser.picture(Path(PICTURES) / f"{'wide' if width > 500 else 'narrow'}-{'dark' if dark else 'light'}.png")


CONTRASTS = """
const shade = (text) => {
  const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map(one => one / 255)
    .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (one) => {
  for (; one; one = one.parentElement) {
    const paint = getComputedStyle(one).backgroundColor;
    if (!paint.endsWith(", 0)") && paint !== "transparent") return paint;
  }
  return "rgb(255, 255, 255)";
};
document.getAnimations().forEach(one => one.finish());
const says = (one) => [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim());
return [...document.querySelectorAll("body *")].filter(one => says(one)
  && one.getClientRects().length && !one.closest("noscript, .hidden, .skip, thead")).map(one => {
    const [light, dark] = [shade(getComputedStyle(one).color), shade(behind(one))].sort((a, b) => b - a);
    return [one.className || one.tagName, one.textContent, Math.round((light + 0.05) / (dark + 0.05) * 100) / 100];
  }).filter(([, , contrast]) => contrast < 4.5);
"""
"""The texts that stand out from what is behind them by less than 4.5 (WCAG 2.2, 1.4.3)."""
