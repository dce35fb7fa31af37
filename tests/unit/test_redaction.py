"""A secret that an answer quotes is redacted however it was escaped, and in time; redaction says nothing by its holes (P9)."""

import html
import json
import re
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from responses import refused

from oidc_actor import ClientCredentials, OIDCConfig, TokenRequestError, oidc
from oidc_actor.protocol.redaction import TOO_DEEP, WITHHELD, is_guessable, layers, presentable, redact
from oidc_actor.transport import MAX_BODY_BYTES, NoAnswer, TransportError
from oidc_actor.values.secrets import Secret

pytestmark = pytest.mark.P9


def units(character):
    """UTF-16's code units, as JSON writes them."""
    encoded = character.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(encoded[at : at + 2], "big") for at in range(0, len(encoded), 2)]


def each(write, which=lambda character: not character.isalnum() or ord(character) > 126):
    return lambda text: "".join(write(one) if which(one) else one for one in text)


def everything(character):
    return True


ESCAPES = {
    "Python's json": lambda text: json.dumps(text)[1:-1],
    "JavaScript": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    ".NET": each(lambda one: "".join(f"\\u{unit:04X}" for unit in units(one))),
    "Gson": each(lambda one: "".join(f"\\u{unit:04x}" for unit in units(one))),
    "PHP": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "all of it as JSON": each(lambda one: "".join(f"\\u{unit:04x}" for unit in units(one)), everything),
    "ECMAScript 6": each(lambda one: f"\\u{{{ord(one):x}}}"),
    "Python's repr": lambda text: repr(text)[1:-1],
    "Python's ascii": lambda text: ascii(text)[1:-1],
    "Python's bytes": lambda text: repr(text.encode())[2:-1],
    "octal": each(lambda one: "".join(f"\\{byte:03o}" for byte in one.encode())),
    "decimal entities": each(lambda one: f"&#{ord(one)};", everything),
    "hexadecimal entities": each(lambda one: f"&#x{ord(one):X};"),
    "with leading zeros": each(lambda one: f"&#x{ord(one):08x};"),
    "decimal with leading zeros": each(lambda one: f"&#{ord(one):09};"),
    "HTML": html.escape,
    "percent": lambda text: quote(text, safe=""),
    "percent of some": quote,
    "percent in small letters": each(lambda one: "".join(f"%{byte:02x}" for byte in one.encode())),
    "percent of all": each(lambda one: "".join(f"%{byte:02X}" for byte in one.encode()), everything),
    "percent of Latin-1": lambda text: quote(text, safe="", encoding="latin-1", errors="xmlcharrefreplace"),
    "a form": quote_plus,
    "JavaScript's escape()": each(lambda one: "".join(f"%u{unit:04X}" for unit in units(one))),
    "UTF-8 read as Latin-1": lambda text: text.encode().decode("latin-1"),
    "lines": lambda text: "\r\n".join(text[at : at + 5] for at in range(0, len(text), 5)),
    "one line": lambda text: re.sub(r"[ \t\r\n]+", " ", text),
    "YAML or SQL": lambda text: text.replace("'", "''"),
    "nothing": lambda text: text,
}
SECRETS = [
    "ab+cd/ef==0123", "p\u00e4ssw\u00f6rd-77", "it's\"quoted\"-9", "nbsp\u00a0secret-3", "back\\slash\\new-5", "<a&b>'c'%41-6",
    "\U0001f600\U0001f511-key-8", "\u043f\u0430\u0440\u043e\u043b\u044c-1", "100%25sure-\\u0041", "correct horse battery staple",
]  # fmt: skip
LONG = 1000
"""Characters beyond which a text is not escaped once more: each example takes milliseconds, whatever is drawn."""


@pytest.mark.parametrize("language", ESCAPES)
def test_a_secret_is_redacted_in_any_language(language):
    for secret in SECRETS:
        assert presentable(f"got [{ESCAPES[language](secret)}], no", [Secret(secret)]) == "got [***], no"


@pytest.mark.parametrize("outer", ESCAPES)
def test_a_secret_is_redacted_in_any_language_within_another(outer):
    for at, inner in enumerate(ESCAPES):
        secret = SECRETS[(at + len(outer)) % len(SECRETS)]
        told = ESCAPES[outer](ESCAPES[inner](secret))
        assert presentable(f"got [{told}], no", [Secret(secret)]) == "got [***], no", (inner, secret)


@given(
    st.text(st.characters(codec="utf-8"), min_size=8, max_size=20).filter(lambda text: not is_guessable(text)),
    st.lists(st.sampled_from([*ESCAPES]), max_size=4),
    st.text("azAZ .,:;[]()<>=_-", max_size=5),
    st.text("azAZ .,:;[]()<>=_-", max_size=5),
)
def test_whatever_the_secret_nothing_that_is_shown_can_be_read_as_it(secret, languages, before, after):
    told = secret
    for language in languages:
        if len(told) < LONG:  # four of the longest would make a hundred thousand characters of twenty
            told = ESCAPES[language](told)
    shown = redact(f"{before} {told} {after}", [Secret(secret)])
    assert all(layer is None or secret not in layer.text for layer in layers(shown))
    assert "***" in shown or shown == TOO_DEEP


@given(st.text(max_size=200), st.lists(st.text(st.characters(max_codepoint=127), min_size=1, max_size=40), max_size=3))
def test_a_text_of_any_kind_can_be_redacted(text, secrets):
    assert isinstance(presentable(text, [Secret(one) for one in secrets]), str)


@given(st.text(max_size=40), st.lists(st.sampled_from([*ESCAPES]), max_size=3))
def test_a_text_without_a_secret_is_shown_as_it_came(text, languages):
    for language in languages:
        if len(text) < LONG:
            text = ESCAPES[language](text.encode(errors="replace").decode())
    assert redact(text, [Secret("a-secret-that-is-not-in-it")]) in {text, TOO_DEEP}


@pytest.mark.parametrize("escapes", ["%25", "\\", "&amp;", "\\u005c", "&#", "\\u{0", "aB3-"])
@pytest.mark.parametrize("secret", ["s3cret-value", "aB3-" * 500])
def test_a_long_answer_takes_no_time(escapes, secret):
    text = escapes * (MAX_BODY_BYTES // len(escapes))
    began = time.process_time()
    presentable(text, [Secret(f"{secret}{number}") for number in range(6)])
    assert time.process_time() - began < 2


def test_a_secret_at_the_end_of_what_is_read_is_not_cut():
    secret = "0123456789" * 20
    for before in range(3900, 4200, 7):
        shown = presentable(" " * before + secret, [Secret(secret)])
        assert not any(character.isdigit() for character in shown)


@pytest.mark.parametrize("depth", [17, 40])
def test_what_is_escaped_too_often_is_not_shown(depth):
    told = "p%ssw0rd"
    for _ in range(depth):
        told = told.replace("%", "%25")
    assert presentable(told, [Secret("p%ssw0rd")]) == TOO_DEEP


@pytest.mark.parametrize(
    "secret", ["e", "the", "client", "invalid", "password", " s p a c e ", "++++'''\"\"", "changeit"]
)
def test_beside_a_secret_that_its_hole_would_tell_the_provider_s_text_is_withheld(secret):
    for text in ("invalid client or password: the secret", "something else"):  # always, or its absence would tell it
        said = {"error": "invalid_client", "error_description": text}
        error = refused(said, status=401, sent_secrets=[Secret("long-enough-1"), Secret(secret)])
        assert (error.error, error.error_description) == ("invalid_client", WITHHELD)
        assert str(error) == f"token request failed: HTTP 401: invalid_client: {WITHHELD}"
        error = refused({"error": f"my_{text}"}, status=401, sent_secrets=[Secret(secret)])
        assert str(error) == f"token request failed: HTTP 401: {WITHHELD}"


@pytest.mark.parametrize("secret", ["s", "a", "answer", "POST", "id.example", "token request failed"])
def test_our_own_words_have_no_holes(secret):
    def fails(request):
        raise NoAnswer("POST https://id.example/token: no connection", sent=False)

    with pytest.raises(TokenRequestError) as caught:
        oidc.get_token(
            OIDCConfig(token_endpoint="https://id.example/token"), ClientCredentials("id", secret), transport=fails
        )
    assert str(caught.value) == "no answer: POST https://id.example/token: no connection"


def test_an_injected_transport_s_words_are_not_ours():
    def fails(request):
        raise TransportError(f"could not send {request.body.decode()}")

    for secret, shown in (("s3cr+t/value", "client_secret=***"), ("key", WITHHELD)):
        auth = ClientCredentials("id", secret, client_auth="client_secret_post")
        with pytest.raises(TokenRequestError) as caught:
            oidc.get_token(OIDCConfig(token_endpoint="https://id.example/token"), auth, transport=fails)
        assert str(caught.value).endswith(shown)
