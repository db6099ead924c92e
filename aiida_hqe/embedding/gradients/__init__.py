"""Analytic gradients of the embedded energy with respect to QM atoms and point charges (equations: docs/gradients.md)."""
