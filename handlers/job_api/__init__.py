"""The job API: submit, watch, listen, over HTTP, with a queue on PostgreSQL. Nothing is imported
here."""
