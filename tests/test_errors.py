"""The error tree says what one can do about an error, and its names survive the way from a job to its parser."""

from __future__ import annotations

import pytest

from aiida_hqe.errors import ERROR_CODES, ConvergenceError, HQEError, InputError, error_kind


@pytest.mark.parametrize("name", sorted(ERROR_CODES))
def test_every_branch_has_a_name_that_leads_back(name: str) -> None:
    error = ERROR_CODES[name]("what was expected")
    assert error_kind(error) == name
    assert isinstance(error, HQEError)
    assert str(error) == "what was expected"


def test_bad_input_exits_with_two_and_everything_else_with_one() -> None:
    assert {name: kind.exit_code for name, kind in ERROR_CODES.items()} == {
        "input": 2, "convergence": 1, "resource": 1, "integrity": 1,
    }  # fmt: skip
    assert error_kind(HQEError("x")) == "error"


def test_errors_carry_what_a_caller_needs() -> None:
    assert InputError("x", "system.qm").key == "system.qm"
    assert ConvergenceError("x", 1e-3).residual == 1e-3
