"""Photos and batches as tensors to train on. All about files, caches and downloads is here."""
