"""`python -m handlers.job_api.api.openapi > openapi.json`: Print the OpenAPI document."""

from __future__ import annotations

import sys

from handlers.job_api.api.openapi.file import render

if __name__ == "__main__":
    sys.stdout.write(render())
