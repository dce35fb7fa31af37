"""What users of other token clients have suffered: where it was reported, and in a few words what it was."""

PAINS = {
    1: (
        "weaviate/weaviate-python-client#2110",
        "the refreshing thread dies of an error; nobody notices until the token ends",
    ),
    2: ("googleapis/google-cloud-rust#5809", "a failed early refresh replaces a live token by an error"),
    3: (
        "googleapis/google-cloud-rust#4541",
        "one outage, or one misread answer, ends refreshing for the life of the process",
    ),
    4: ("hashicorp/vault#20645", "renewals in a hot loop; or an empty 200 that is never retried"),
    5: ("spring-projects/spring-security#11461", "as many token requests as there are callers"),
    6: ("quarkusio/quarkus#55196", "a rotating refresh token is redeemed twice, and its family revoked"),
    7: ("googleapis/google-auth-library-python#1161", "callers block at every expiry"),
    8: ("peburrows/goth#113", "after a suspend timers are late and a dead token is served"),
    9: ("Azure/azure-sdk-for-python#44488", "a secret or an assertion is kept beyond its own life"),
    10: ("authlib/authlib#338", "a 5xx, a 429 or a page of HTML comes out as a JSON error that nobody can retry by"),
    11: ("Colin-b/httpx_auth#23", "a revoked token is sent until it ends; or every 401 makes a request"),
    12: ("open-webui/open-webui#23669", "without expires_in a token is never refreshed, or always"),
    13: (
        "quarkusio/quarkus#39293",
        "with the provider down at boot the program does not start, or never recovers",
    ),
    14: ("boto/botocore#2189", "a token shorter than the refresh window is refreshed at every call"),
}
