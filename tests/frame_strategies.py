"""Hypothesis strategies: any frame at all, with any combination of labels."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aiida_hqe.frames import ENERGIES, FORCES, MM_FORCES, Frame

REALS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [-0.0, 5e-324, -2.2e-308, 1.7e308, 0.1 + 0.2]
)
ODD_TEXT = ["", "T", "1", "1.50", "nan", 'a "b" \\n', "\n\r\t\\", " x "]
TEXT = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(ODD_TEXT)
KEYS = st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).map(lambda key: f"x{key}")
INFO = st.dictionaries(KEYS, REALS | st.integers(-(2**63) + 1, 2**63 - 1) | st.booleans() | TEXT, max_size=4)


def _reals(*shape: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, shape, elements=REALS)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    n_qm, n_mm = draw(st.integers(1, 4)), draw(st.integers(0, 3))
    numbers = draw(arrays(np.int64, n_qm, elements=st.integers(1, 118)))
    positions = draw(arrays(np.float64, (n_qm, 3), elements=st.floats(-0.2, 0.2)))
    positions[:, 0] += np.arange(n_qm)
    cores = draw(st.integers(0, n_qm))
    labels = {
        **{name: draw(st.none() | REALS) for name in ENERGIES},
        **{name: draw(st.none() | _reals(n_qm, 3)) for name in FORCES},
        **{name: draw(st.none() | _reals(n_mm, 3)) for name in MM_FORCES},
    }
    return Frame(
        numbers=numbers,
        positions=positions,
        charge=int(numbers.sum()) - 2,
        spin=draw(st.sampled_from([0, 2])),
        core=[*range(1, cores + 1), *[0] * (n_qm - cores)],
        mm_numbers=draw(arrays(np.int64, n_mm, elements=st.integers(0, 118))),
        mm_positions=draw(_reals(n_mm, 3)),
        mm_charges=draw(_reals(n_mm)),
        info=draw(INFO),
        **labels,
    )
