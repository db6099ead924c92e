"""CalcJobs and calcfunctions; installed as ``aiida_hqe.calculations``."""

if __name__ != "aiida_hqe.calculations":
    raise ImportError("import aiida_hqe.calculations: a class must have one import path, or AiiDA cannot find its type")
