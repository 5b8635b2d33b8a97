"""The native backend: packed native files on processors, without PyTorch."""
