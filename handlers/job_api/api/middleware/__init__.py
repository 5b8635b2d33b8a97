"""ASGI middleware: body limit, CSRF protection and header timeout."""
