"""How good drawings are: the judge, the distances in its features, and the evaluation of a set.

Each number comes with the floor that as many real pictures reach.
"""
