"""Exit statuses of the command line; docs/runbook.md explains them."""

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_NOT_COMPARED = 3
EXIT_AWAY = 75
"""A service needed at the start is away; the same start may succeed later (EX_TEMPFAIL)."""
EXIT_MISCONFIGURED = 78
"""Wrong settings or a wrong installation; the same start fails again (EX_CONFIG)."""
EXIT_INTERRUPTED = 130
