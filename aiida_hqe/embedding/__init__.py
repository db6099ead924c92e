"""The quantum-core engine on PySCF: environment DFT in point charges, partition, projection, core solvers."""
