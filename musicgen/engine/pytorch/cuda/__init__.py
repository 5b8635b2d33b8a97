"""CUDA graphs and the preallocated slots of a batch on a GPU."""
