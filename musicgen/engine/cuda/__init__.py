"""CUDA graphs and the slots of the batch on a GPU."""
