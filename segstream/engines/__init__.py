"""Engines: the same network run by torch, by a CPU-tuned executor or by CUDA kernels."""
