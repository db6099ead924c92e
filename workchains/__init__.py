"""Workchains: label, train, sample, campaign; installed as ``aiida_hqe.workchains``."""

if __name__ != "aiida_hqe.workchains":
    raise ImportError("import aiida_hqe.workchains: a class must have one import path, or AiiDA cannot find its type")
