"""Photos and batches: pictures from files and addresses, as tensors that a network can train on.

Bytes, files, caches and downloads are handled here and nowhere else.
"""
