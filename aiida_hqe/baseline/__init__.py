"""Cheap quantum chemistry in the same point charges: what a potential may learn the difference to."""
