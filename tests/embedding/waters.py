"""A water molecule, the smallest QM region there is."""

from __future__ import annotations

import numpy as np

WATER = np.array([[0.0, 0.0, 0.115], [0.0, 0.754, -0.459], [0.0, -0.754, -0.459]])
"""Positions (angstrom) of O, H, H in the yz plane."""
