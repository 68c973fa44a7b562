"""Settings that would lose jobs are refused."""

import pytest
from pydantic import ValidationError

from app.config import Settings


def test_a_lease_must_outlast_its_renewals() -> None:
    with pytest.raises(ValidationError, match=r"at most 2\.5"):
        Settings(lease_seconds=5)
    assert Settings(lease_seconds=5, renew_seconds=2.5).lease_seconds == 5


def test_networks_are_separated_by_commas_and_must_be_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_WEBHOOK_NETWORKS", "10.1.0.0/16, fd00::/8,127.0.0.1")
    networks = Settings().webhook_networks
    assert [str(one) for one in networks] == ["10.1.0.0/16", "fd00::/8", "127.0.0.1/32"]
    monkeypatch.setenv("STILLHOUSE_WEBHOOK_NETWORKS", "")
    assert Settings().webhook_networks == ()
    with pytest.raises(ValidationError):
        Settings(webhook_networks="10.1.0.0/16,localhost")
