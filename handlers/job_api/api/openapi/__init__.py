"""OpenAPI document of the job API.

FastAPI derives paths, parameters and bodies from the routes. This package adds the rest: errors,
headers, media types, webhooks and security. `python -m handlers.job_api.api.openapi` prints it.
"""
