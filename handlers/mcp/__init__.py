"""Tools for agents by the Model Context Protocol, made of calls of the job API. No torch."""
