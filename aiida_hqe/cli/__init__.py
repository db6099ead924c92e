"""The command line ``aiida-hqe``."""

from aiida_hqe.cli.root import main

__all__ = ["main"]
