"""The host side: data, training loop, metrics, pictures."""
