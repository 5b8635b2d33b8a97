"""Settings of a server whose clips are in a SeaweedFS bucket."""

from __future__ import annotations

from tests.support.seaweedfs import APP, BUCKET, SeaweedFS

FAST = {"MUSICGEN_RATE_LIMIT": "100000/minute"}


def bucket_settings(bucket: SeaweedFS, **more: object) -> dict[str, object]:
    """Return environment variables for the test bucket, with `more` of them."""
    return {
        "MUSICGEN_BUCKET": BUCKET,
        "MUSICGEN_BUCKET_ENDPOINT_URL": bucket.url,
        "MUSICGEN_BUCKET_ACCESS_KEY_ID": APP[0],
        "MUSICGEN_BUCKET_SECRET_ACCESS_KEY": APP[1],
        "MUSICGEN_BUCKET_REGION": "us-east-1",
        **FAST,
        **more,
    }
