"""aiida-hqe: active-learning QM/MM with quantum cores, every number traceable in AiiDA."""

__version__ = "0.1.0"
