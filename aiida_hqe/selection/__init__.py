"""Disagreement, calibration and the choice of frames worth a label."""
