"""Capacity planning: workers and costs for a load. Imports no torch and no network."""
