"""Checks of what a cluster, an image builder or a workflow runner would read of infra/."""
