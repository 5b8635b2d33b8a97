"""Adapters of the PEFT library: their kinds, and their merge into the weights of a checkpoint."""
