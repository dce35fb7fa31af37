import os
from concurrent.futures import ProcessPoolExecutor

import requests

from oidc_actor import RefreshToken, TokenManager


def task(number: int, access_token: str) -> int:
    fields = {"Authorization": f"Bearer {access_token}"}
    return requests.get(f"https://api.example.com?page={number}", headers=fields, timeout=10).status_code


if __name__ == "__main__":
    with ProcessPoolExecutor(max_workers=2) as pool:
        TokenManager.start_link(
            name="login.token",
            issuer_url="https://auth.example.com",
            auth=RefreshToken(os.environ["REFRESH_TOKEN"], "my-service", os.environ["CLIENT_SECRET"]),
        )
        tasks = []
        for number in range(4):
            token = TokenManager.get_access_token("login.token", min_validity=30)  # longer than a task takes
            tasks.append(pool.submit(task, number, token))
        print([one.result() for one in tasks])
