"""Molecular assemblies through OpenMM: regions, topologies, effective point charges."""
