"""Photos and batches as tensors to train on, and all about files, tables, caches and downloads."""
