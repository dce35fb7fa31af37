"""The manager's decisions about the resource that its token is for: its metadata have to name the issuer first."""

import pytest
from machine_driver import CONFIG, Driver

from oidc_actor.machine.effects import Discover, FullGrant, VerifyResource
from oidc_actor.machine.state import METADATA_AGE_S, Phase, Rules
from oidc_actor.values.errors import DiscoveryError, TokenRequestError
from oidc_actor.values.resource_metadata import ResourceMetadata

RESOURCE = ResourceMetadata("https://api.example", ("https://i",))
RULES = Rules(verifies_resource=True)
MISMATCH = DiscoveryError("expected the issuer among them", status=200)


def grant_of(driver: Driver) -> object:
    assert driver.fetch is not None
    return driver.fetch.grant


def verified(lifetime: float = 10 * METADATA_AGE_S) -> Driver:
    driver = Driver(oidc_config=None, rules=RULES).start()
    driver.ends_with(CONFIG).ends_with(RESOURCE)
    return driver.sent().succeeds(lifetime=lifetime)


def test_no_token_is_asked_for_before_the_resource_names_the_issuer() -> None:
    driver = Driver(oidc_config=None, rules=RULES).start()
    assert grant_of(driver) == Discover()
    assert grant_of(driver.ends_with(CONFIG)) == VerifyResource(CONFIG)
    assert driver.state.phase is Phase.DISCOVERING
    driver.sent()
    assert driver.state.token_requests == 0
    assert grant_of(driver.ends_with(RESOURCE)) == FullGrant(CONFIG)
    assert driver.state.attempts == 1


def test_a_mismatch_ends_the_attempt_and_is_asked_again() -> None:
    driver = Driver(oidc_config=None, rules=RULES).start().ends_with(CONFIG).fails(MISMATCH)
    assert (driver.state.attempt, driver.state.last_error, driver.state.failures) == (None, MISMATCH, 1)
    assert not driver.state.blocked
    assert grant_of(driver.tick()) == VerifyResource(CONFIG)  # the provider's metadata are known by now
    assert grant_of(driver.ends_with(RESOURCE)) == FullGrant(CONFIG)


def test_a_refresh_does_not_ask_the_resource_again_until_its_metadata_are_old() -> None:
    driver = verified(lifetime=300.0)
    assert grant_of(driver.tick()) == FullGrant(CONFIG)
    driver = verified().wait(METADATA_AGE_S + 1).refreshed()
    assert grant_of(driver) == Discover(instead_of=CONFIG)
    assert grant_of(driver.ends_with(CONFIG)) == VerifyResource(CONFIG)
    assert grant_of(driver.ends_with(RESOURCE)) == FullGrant(CONFIG)


@pytest.mark.parametrize("error", [MISMATCH, DiscoveryError("no answer")])
def test_older_metadata_of_the_resource_serve(error: DiscoveryError) -> None:
    driver = verified().wait(METADATA_AGE_S + 1).refreshed().ends_with(CONFIG).fails(error)
    assert grant_of(driver) == FullGrant(CONFIG)
    assert "discovery_failed" in driver.reports
    driver.sent().succeeds()
    assert grant_of(driver.wait(2).refreshed()) == VerifyResource(CONFIG)


def test_a_resource_that_asks_for_a_wait_gets_it_and_the_token_is_renewed_all_the_same() -> None:
    busy = DiscoveryError("busy", status=503, retry_after_s=30.0)
    driver = verified().wait(METADATA_AGE_S + 1).refreshed().ends_with(CONFIG).fails(busy)
    assert grant_of(driver) == FullGrant(CONFIG)
    driver.sent().succeeds(lifetime=10 * METADATA_AGE_S)
    assert grant_of(driver.wait(29).refreshed()) == FullGrant(CONFIG)
    driver.sent().succeeds(lifetime=10 * METADATA_AGE_S)
    assert grant_of(driver.wait(2).refreshed()) == VerifyResource(CONFIG)


def test_without_an_earlier_word_of_the_resource_the_manager_waits_as_it_asks() -> None:
    busy = DiscoveryError("busy", status=503, retry_after_s=30.0)
    driver = Driver(oidc_config=None, rules=RULES).start().ends_with(CONFIG).fails(busy)
    assert driver.state.attempt is None
    assert driver.state.floor_at == driver.now + 30.0


def test_a_provider_that_cannot_be_discovered_again_does_not_free_from_it() -> None:
    driver = Driver(oidc_config=CONFIG, rules=RULES).start()  # known, but never verified
    assert grant_of(driver) == Discover(instead_of=CONFIG)
    assert grant_of(driver.fails(DiscoveryError("no answer"))) == VerifyResource(CONFIG)


def test_an_endpoint_that_moved_is_looked_for_and_the_resource_left_alone() -> None:
    driver = verified(lifetime=300.0).tick()
    driver.fails(TokenRequestError("HTTP 404", status=404))
    assert grant_of(driver.tick()) == Discover(instead_of=CONFIG)
    assert grant_of(driver.ends_with(CONFIG)) == FullGrant(CONFIG)
