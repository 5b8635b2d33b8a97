"""Handlers: each platform's payload to a `GenerationRequest`, and the result to its reply."""
