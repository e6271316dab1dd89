"""Measures oncewatch, its floor and its peers; see README.md of the repository."""
