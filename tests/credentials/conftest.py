"""One key for all tests of this folder."""

from __future__ import annotations

import pytest

from tests.support.signing_keys import SigningKeys, make_keys


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> SigningKeys:
    return make_keys(tmp_path_factory.mktemp("keys"))
