"""The commands of the command line, one module each, and what they share.

They read options, check what can fail before the work, and print what was done.
"""
