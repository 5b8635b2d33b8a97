"""Checks of the files read by a cluster, an image builder or a workflow runner."""
