"""Photos and batches as tensors to train on. All about files, tables, caches and downloads is here."""
