"""HTTP in: routes, authentication, schemas and metrics of the API server."""
