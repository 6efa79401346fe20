"""Painted tigers: attributes and captions. How a tiger is painted is in the folder `painting`."""
