"""The levels of the tests of this folder."""

from aiida_hqe.embedding.level import Level


def make_level(*, environment=None, core=None, embedding=None, forces="none") -> Level:
    """A level of a cheap environment (STO-3G, coarse grid) unless told otherwise."""
    return Level.model_validate(
        {
            "environment": {"basis": "sto-3g", "grid_level": 1, **(environment or {})},
            "core": {"method": "hf", **(core or {})},
            "embedding": embedding or {},
            "forces": forces,
        }
    )
