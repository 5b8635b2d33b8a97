"""Each lower bound of pyproject.toml is a version with which the tests ran."""

from __future__ import annotations

import importlib.metadata

import pytest

from infra.lock import bounds
from infra.lock.files import read_project


@pytest.mark.parametrize(
    ("installed", "bound", "holds"),
    [
        ("3.6", "3.6", True),
        ("3.6.1", "3.6", True),
        ("9.1.2", "9", True),
        ("2.0.0+cpu", "2.0", True),
        ("3.7.0", "3.6", False),
        ("0.30.1", "0.30.0", False),
        ("0.141.1", "0.120", False),
    ],
)
def test_the_first_release_of_a_bound_is_the_lowest(
    installed: str, bound: str, holds: bool
) -> None:
    assert bounds.is_lowest(installed, bound) is holds


def test_a_newer_version_than_the_bound_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a bound that no test has ever installed."""
    lowest = {"boto3": "1.40.0", "tenacity": "9.1.2"}
    monkeypatch.setattr(bounds, "version", lowest.__getitem__)
    assert bounds.main(["s3"]) == 0
    lowest["boto3"] = "1.43.66"
    assert bounds.main(["s3"]) == 1
    assert "boto3>=1.40: 1.43.66 is installed" in capsys.readouterr().err


def test_a_package_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(bounds, "version", fail)
    found = list(bounds.find_untested([bounds.CORE]))
    assert len(found) == len(read_project()["dependencies"])
