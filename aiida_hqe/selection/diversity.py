"""Diversity: an invariant descriptor of frames, and farthest-point choice in its space.

The descriptor holds, per pair of elements, the sorted inverse distances of the QM atoms, and per element the sorted
potential and strength of the field of the point charges at the QM atoms. It does not change when the frame is rotated or
shifted, or when its like atoms or its charges are swapped. Farthest-point choice: Eldar et al., doi:10.1109/83.623193.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aiida_hqe.frames import OVERLAP, Floats, Frame, Ints
from aiida_hqe.units import COULOMB

Groups = dict[tuple[int, ...], Floats]


def descriptors(frames: Sequence[Frame], reference: Sequence[Frame] = ()) -> tuple[Floats, Floats]:
    """Descriptors of `frames` and of `reference`, standardised over `frames`: (n, d) and (n_reference, d).

    Each of the three blocks (inverse distances, potentials, fields) has one scale, which makes its total variance 1, so
    that a stiff bond's noise is not blown up to the size of a torsion; distances weigh as much as the surroundings.
    Frames of unlike composition are comparable: a pair or an atom that a frame lacks counts as infinitely far away.
    """
    everything = [*frames, *reference]
    tables = [_table([block(frame) for frame in everything]) for block in (_inverse_distances, _potentials, _fields)]
    weights = np.sqrt([2.0, 1.0, 1.0])
    blocks = [weight * _standardised(table, len(frames)) for weight, table in zip(weights, tables, strict=True)]
    joined = np.concatenate(blocks, axis=1)
    return joined[: len(frames)], joined[len(frames) :]


def farthest_points(
    points: Floats, n_chosen: int, known: Floats, first: int | None = None, weights: Floats | None = None
) -> list[int]:
    """Indices of `n_chosen` points, each the farthest from all chosen before it and from the known ones.

    Parameters
    ----------
    points, known
        (n, d) to choose from, and (n_known, d) already chosen.
    n_chosen
        How many; at most n.
    first
        Where to start; by default the farthest from what is known, or from the centre where nothing is.
    weights
        Positive weights (n,) by which distances count; all alike by default.
    """
    factors = np.ones(len(points)) if weights is None else np.asarray(weights, dtype=np.float64)
    centre = points.mean(axis=0, keepdims=True)
    nearest = np.min([_distances(points, at) for at in (known if len(known) else centre)], axis=0)
    chosen: list[int] = []
    while len(chosen) < min(n_chosen, len(points)):
        index = int((factors * nearest).argmax()) if chosen or first is None else first
        if not chosen and not len(known):
            nearest = np.full(len(points), np.inf)
        chosen.append(index)
        nearest = np.minimum(nearest, _distances(points, points[index]))
        nearest[chosen] = -np.inf
    return chosen


def _standardised(table: Floats, n_pool: int) -> Floats:
    """The table centred on its first `n_pool` rows, in units of their total standard deviation, rounding apart."""
    pool = table[:n_pool]
    scale = float(np.sqrt(pool.var(axis=0).sum()))
    noise = 1e-9 * float(np.abs(pool).max(initial=0.0))
    return (table - pool.mean(axis=0)) / (scale if scale > noise else 1.0)


def _distances(points: Floats, at: Floats) -> Floats:
    return np.asarray(np.linalg.norm(points - at, axis=1))


def _inverse_distances(frame: Frame) -> Groups:
    """Sorted inverse distances (1/angstrom) of the QM atoms, by pair of elements."""
    i, j = np.triu_indices(frame.n_qm, k=1)
    values = 1.0 / _lengths(frame.positions[i] - frame.positions[j])
    return _grouped(np.sort(frame.numbers[np.stack([i, j], axis=1)], axis=1), values)


def _potentials(frame: Frame) -> Groups:
    """Sorted potential (V) of the point charges at the QM atoms, by element."""
    lengths = _lengths(frame.positions[:, None] - frame.mm_positions[None])
    return _grouped(frame.numbers[:, None], COULOMB * (frame.mm_charges / lengths).sum(axis=1))


def _fields(frame: Frame) -> Groups:
    """Sorted strength of the field (V/angstrom) of the point charges at the QM atoms, by element."""
    vectors = frame.positions[:, None] - frame.mm_positions[None]
    fields = ((frame.mm_charges / _lengths(vectors) ** 3)[..., None] * vectors).sum(axis=1)
    return _grouped(frame.numbers[:, None], COULOMB * np.linalg.norm(fields, axis=-1))


def _lengths(vectors: Floats) -> Floats:
    """Lengths of vectors; sites on top of each other count as at the overlap distance, so that nothing is infinite."""
    return np.maximum(np.linalg.norm(vectors, axis=-1), OVERLAP)


def _grouped(keys: Ints, values: Floats) -> Groups:
    """The values (n,) under each distinct row of keys (n, k), in descending order."""
    distinct, group = np.unique(keys, axis=0, return_inverse=True)
    return {tuple(key): np.sort(values[group.ravel() == i])[::-1] for i, key in enumerate(distinct.tolist())}


def _table(rows: list[Groups]) -> Floats:
    """The rows side by side, (n_rows, n_columns), each group padded with zeros to its greatest length."""
    keys = sorted({key for row in rows for key in row})
    widths = {key: max(len(row.get(key, ())) for row in rows) for key in keys}
    starts = dict(zip(keys, np.cumsum([0, *widths.values()]).tolist(), strict=False))
    table = np.zeros((len(rows), sum(widths.values())))
    for line, row in zip(table, rows, strict=True):
        for key, values in row.items():
            line[starts[key] : starts[key] + len(values)] = values
    return table
