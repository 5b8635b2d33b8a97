"""State in PostgreSQL and on disk: jobs, queue, files, keys and spending."""
