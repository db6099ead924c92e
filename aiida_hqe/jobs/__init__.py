"""What runs on the compute node: the console script ``hqe-job``."""
