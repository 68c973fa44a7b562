"""Settings that would lose jobs are refused."""

import pytest
from pydantic import ValidationError

from app.config import Settings


def test_a_lease_must_outlast_its_renewals() -> None:
    with pytest.raises(ValidationError, match=r"at most 2\.5"):
        Settings(lease_seconds=5)
    assert Settings(lease_seconds=5, renew_seconds=2.5).lease_seconds == 5
