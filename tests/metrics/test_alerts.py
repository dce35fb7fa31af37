"""The alert rules speak of instruments and outcomes that there are, and of all outcomes that want somebody."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import read

import oidc_actor.metrics
from oidc_actor.metrics import INSTRUMENTS

SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
SERIES = {one.prometheus_name + suffix: one for one in INSTRUMENTS for suffix in SUFFIXES[one.kind]}
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((Path(oidc_actor.metrics.__file__).parent / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_a_rule_speaks_of_what_there_is(rule: dict[str, Any], start: Any, sample: Any) -> None:
    names = re.findall(r"oidc_actor_\w+", rule["expr"])
    assert names
    assert set(names) <= set(SERIES)
    labels = {label for name in names for label in SERIES[name].labels}
    said = re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))
    assert set(said) <= labels
    for name, outcome in re.findall(r'(oidc_actor_\w+)\{outcome="(\w+)"\}', rule["expr"]):
        start(name="m")
        labels_of_m = {"manager": "m", "issuer": "https://auth.example.com", "outcome": outcome}
        assert sample(name.removeprefix("oidc_actor_"), **labels_of_m) is not None, "there is such an outcome"
        break
    for operator in re.findall(r"\b(?:and|or|unless)\b.{20}", rule["expr"]):
        assert "ignoring (outcome)" in operator, "series of two outcomes never match"
    assert rule["labels"]["severity"] in {"critical", "warning"}


def test_the_page_says_what_each_means() -> None:
    page = read("oidc_actor/metrics/README.md")
    assert re.findall(r"^\| `(OIDC\w+)`", page, flags=re.MULTILINE) == [rule["alert"] for rule in RULES]
