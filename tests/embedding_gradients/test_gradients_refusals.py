"""What has no analytic forces is refused by name, and nothing numerical takes its place."""

import pytest
from finite_differences import level_of
from pydantic import ValidationError

from aiida_hqe.embedding.gradients import coupled_cluster, zvector
from aiida_hqe.embedding.label import label


def refused(frame, level, kind, *words):
    found = label(frame, level)
    assert (found.status, found.error_kind) == ("failed", kind)
    assert found.forces is None
    for word in (frame.hash[:12], *words):
        assert word in found.message


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({"core": [0] * 6}, level_of(core_orbitals=[]), ["quantum core"]),
        ({"charge": 1, "spin": 1}, level_of(), ["closed shells", "1 unpaired"]),
        ({}, level_of(method="lno-ccsd(t)", density_fit=True), ["hf, mp2, ccsd, ccsd(t)", "got lno-ccsd(t)"]),
        ({}, level_of(embedding={"partition": "ibo"}), ["spade", "got ibo"]),
        ({}, level_of(embedding={"partition": "pipek-mezey"}), ["spade", "got pipek-mezey"]),
        ({}, level_of(embedding={"functional": "nonlinear"}), ["linear", "got nonlinear"]),
        ({}, level_of(embedding={"functional": "static"}), ["linear", "got static"]),
        ({}, level_of(embedding={"projector": {"level_shift": 1e6}}), ["huzinaga", "level shift"]),
        ({}, level_of("b97m_v"), ["non-local", "got b97m_v"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_there_is_refused_by_name(dimer, change, level, words):
    refused(dimer.replace(**change), level, "input", "analytic forces", "set forces to numerical", *words)


@pytest.mark.parametrize(
    ("xc", "method", "what"), [("hf", "mp2", "the quantum core"), ("lda,vwn", "hf", "the environment")]
)
def test_a_z_vector_that_does_not_converge_fails_the_frame_with_its_residual(dimer, monkeypatch, xc, method, what):
    monkeypatch.setattr(zvector, "MAX_CYCLES", 1)
    refused(dimer, level_of(xc, method=method), "convergence", "z-vector", what, "residual")


def test_multipliers_that_do_not_converge_fail_the_frame(dimer, monkeypatch):
    monkeypatch.setattr(coupled_cluster, "MAX_CYCLES", 1)
    refused(dimer, level_of("hf", method="ccsd"), "convergence", "multipliers", "mp2")


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (4, ["gap", "after 4 core orbitals", "0.1"]),
        (0, ["1 to 10", "got 0"]),
        (-1, ["1 to 10", "got -1"]),
        (11, ["1 to 10", "got 11"]),
    ],
)
def test_a_core_without_a_gap_or_without_orbitals_is_refused(dimer, count, words):
    refused(dimer, level_of("hf", core_orbitals=(count,), method="mp2"), "input", *words)


@pytest.mark.parametrize("count", [4.5, "five"])
def test_a_core_of_no_whole_number_of_orbitals_is_no_level(count):
    with pytest.raises(ValidationError, match=r"core_orbitals\.0"):
        level_of(core_orbitals=(count,))


@pytest.mark.parametrize("fitted", [False, True])
def test_coupled_cluster_forces_too_large_for_the_machine_are_refused_before_they_are_tried(dimer, monkeypatch, fitted):
    monkeypatch.setattr(coupled_cluster, "COPIES", 10**9)
    refused(dimer, level_of("hf", method="ccsd", density_fit=fitted), "resource", "GB", "mp2")
