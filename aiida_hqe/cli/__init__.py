"""The command line ``aiida-hqe``."""
