"""HTTP requests to URLs chosen by callers."""
