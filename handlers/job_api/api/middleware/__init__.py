"""HTTP protection: body limits, CSRF protection and header timeout."""
