"""HTTP server of the job API: routes, authentication, schemas and metrics."""
