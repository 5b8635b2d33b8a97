"""State on PostgreSQL and disk: jobs, queue, files, keys and spending."""
