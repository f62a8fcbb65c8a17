"""CUDA kernels of the block operations, each beside its plain-torch twin."""
