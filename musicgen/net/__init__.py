"""HTTP requests to addresses that a caller names."""
