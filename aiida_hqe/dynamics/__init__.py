"""ML/MM molecular dynamics on OpenMM."""
