"""Supervised and reinforcement training of network and policy."""
