"""How good drawings are: the judge of painted tigers. Distances are measured in its features."""
