"""Environment-aware SchNetPack potentials, committees, ASE calculator."""
