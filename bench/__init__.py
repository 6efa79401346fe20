"""Comparisons with the libraries that people would use instead: ``make bench``."""
