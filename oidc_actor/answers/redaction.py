"""Texts of the provider made fit to be shown: without the secrets of the exchange, without control characters, short."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Collection, Iterable
from urllib.parse import quote, quote_plus

from oidc_actor.secrets import Secret

MARK = "***"
LONGEST_TEXT = 500
"""How much of a provider's text is kept, in characters."""


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """Take secrets out of a text, in every form in which an answer may repeat them.

    Args:
        text: The text.
        secrets: What must not be in it.

    Returns:
        The text with a mark in place of each.
    """
    for form in sorted({form for secret in secrets for form in _forms(secret.reveal())}, key=len, reverse=True):
        text = text.replace(form, MARK)
    return text


def presentable(text: str, secrets: Collection[Secret]) -> str:
    """Make a provider's text fit for a log line: redacted first, so that no cut leaves half a secret.

    Redacted once more when it is one line: a phrase with spaces may come broken into lines that only now are one again.

    Args:
        text: The text.
        secrets: What must not be in it.

    Returns:
        One line of at most `LONGEST_TEXT` characters.
    """
    line = " ".join("".join(one if one.isprintable() else " " for one in redact(text, secrets)).split())
    line = redact(line, secrets)
    return line if len(line) <= LONGEST_TEXT else line[:LONGEST_TEXT] + "..."


def _forms(secret: str) -> set[str]:
    # As sent in a form or in a Basic header, and as HTML, JSON or Python would quote it in an answer.
    quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    lower = {_lower_escapes(one) for one in quoted}
    encoded = secret.encode()
    base64s = {base64.b64encode(encoded).decode(), base64.urlsafe_b64encode(encoded).decode().rstrip("=")}
    escaped = {html.escape(secret), json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    forms = {secret} | quoted | lower | base64s | escaped
    # A text that went through a line-by-line or a whitespace-collapsing template.
    return forms | {" ".join(form.split()) for form in forms} - {""}


def _lower_escapes(text: str) -> str:
    head, *rest = text.split("%")
    return head + "".join("%" + part[:2].lower() + part[2:] for part in rest)
