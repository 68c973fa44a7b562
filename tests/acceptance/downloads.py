"""Downloads as a client makes them."""

import httpx2

from tests.house import House


def download(house: House, url: str) -> bytes:
    """Download a file, following a redirect to S3 without the key."""
    answer = house.client.get(url, follow_redirects=False)
    if answer.status_code == 307:
        answer = httpx2.get(answer.headers["location"])
    assert answer.status_code == 200, answer.text
    return answer.content
