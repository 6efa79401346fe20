"""Painted tigers: their attributes, their captions, and folders and streams of them.

How a tiger is painted is in the folder `painting`.
"""
