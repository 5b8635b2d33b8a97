"""Requirement files of the images, compiled from pyproject.toml: `python -m infra.lock`."""
