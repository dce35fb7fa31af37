import billing_program
import pytest

from oidc_actor import NoTokenError, TokenManager

pytestmark = pytest.mark.usefixtures("stop_managers")  # the program starts a manager, and each test starts the program


@pytest.fixture
def program(oidc_provider, fault_proxy, manual_clock):
    """The program, with a provider behind a proxy, on a clock that stands still."""
    provider = oidc_provider
    billing_program.start(provider.issuer_url, provider.client_id, provider.client_secret, clock=manual_clock)
    return billing_program


@pytest.mark.oidc_provider(token_lifetime_s=300)
def test_a_token_lasts_for_many_calls(program, oidc_provider):
    for _ in range(10):
        program.invoices(oidc_provider.resource_url)
    assert oidc_provider.tokens_issued == 1


@pytest.mark.oidc_provider(token_lifetime_s=300)
def test_an_outage_is_no_matter_while_the_token_lives(program, oidc_provider, manual_clock):
    program.invoices(oidc_provider.resource_url)
    oidc_provider.fail_next(None, status=503)
    manual_clock.advance(299)
    program.invoices(oidc_provider.resource_url)


@pytest.mark.oidc_provider(token_lifetime_s=300)
def test_a_longer_outage_is_said_so_at_once(program, oidc_provider, fault_proxy, manual_clock):
    program.invoices(oidc_provider.resource_url)
    fault_proxy.down()
    manual_clock.advance(301)
    with pytest.raises(NoTokenError):
        TokenManager.get_token("billing.token", timeout=0)


def test_a_wrong_secret(oidc_provider):
    billing_program.start(oidc_provider.issuer_url, oidc_provider.client_id, "mistyped")
    with pytest.raises(NoTokenError, match="invalid_client"):
        billing_program.invoices(oidc_provider.resource_url)
