"""Thin parsers: one validated result to nodes and an exit code; installed as ``aiida_hqe.parsers``."""

if __name__ != "aiida_hqe.parsers":
    raise ImportError("import aiida_hqe.parsers: a class must have one import path, or AiiDA cannot find its type")
