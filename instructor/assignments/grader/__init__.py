"""Grades submitted notebooks: the student's code in one process, the tests in another."""
