"""A capability of the tests: how often a letter is in the held-out texts."""
