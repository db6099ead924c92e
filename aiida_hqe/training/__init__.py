"""Objective, schedule and transfer of committee training."""
