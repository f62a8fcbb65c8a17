"""Networks, their weights and model cards."""
