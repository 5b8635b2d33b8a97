"""Around every call: its id and headers, body limits, CSRF protection and header timeout."""
