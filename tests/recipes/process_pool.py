import os
from concurrent.futures import ProcessPoolExecutor

import requests

from oidc_actor import ClientCredentials, TokenManager
from oidc_actor.adapters.requests import OIDCAuth


def start_manager() -> None:
    """Runs once in each worker, before its first task; the manager lives as long as the worker."""
    TokenManager.start_link(
        name="workers.token",
        issuer_url="https://auth.example.com",
        auth=ClientCredentials("my-service", os.environ["CLIENT_SECRET"]),
    )


def task(number: int) -> int:
    answer = requests.get(f"https://api.example.com?page={number}", auth=OIDCAuth("workers.token"), timeout=10)
    return answer.status_code


if __name__ == "__main__":
    with ProcessPoolExecutor(max_workers=2, initializer=start_manager) as pool:
        print(list(pool.map(task, range(4))))
