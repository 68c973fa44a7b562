"""Whole houses: SQLite with a local folder, and PostgreSQL with S3."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import House


@pytest.fixture
def small_house(tmp_path: Path, sqlite_url: str, broker_url: str) -> Iterator[House]:
    """Open a house on SQLite and a local folder, with the default settings."""
    with House.open(
        tmp_path,
        {
            "STILLHOUSE_DATABASE_URL": sqlite_url,
            "STILLHOUSE_BROKER_URL": broker_url,
            "STILLHOUSE_STORAGE_URL": str(tmp_path / "blobs"),
        },
    ) as house:
        yield house


@pytest.fixture
def grown_house(tmp_path: Path, postgres_url: str, broker_url: str, s3_url: str) -> Iterator[House]:
    """Open a house on PostgreSQL and S3, with the default settings."""
    with House.open(
        tmp_path,
        {
            "STILLHOUSE_DATABASE_URL": postgres_url,
            "STILLHOUSE_BROKER_URL": broker_url,
            "STILLHOUSE_STORAGE_URL": s3_url,
        },
    ) as house:
        yield house


@pytest.fixture(params=["small_house", "grown_house"])
def house(request: pytest.FixtureRequest) -> House:
    """Give a house of each kind in turn."""
    house = request.getfixturevalue(request.param)
    assert isinstance(house, House)
    return house
