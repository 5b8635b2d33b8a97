"""Job API: submit, follow and hear jobs over HTTP, with a queue on PostgreSQL.

Nothing is imported here.
"""
