"""The painter: primitives, the maps that all tigers share, portraits and backdrops.

Everything is arithmetic on tensors, for many tigers at once.
"""
