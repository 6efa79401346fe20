"""Trained networks: shipped with the package, exported to a folder, or on the Hugging Face Hub.

Pipelines of Stable Diffusion are found and loaded here too.
"""
