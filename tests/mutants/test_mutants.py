"""Each deliberate mistake can be made: its text stands once in the code. `make mutants` sees that the laws catch it."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import MUTANTS, PACKAGE, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies(mutant: Mutant) -> None:
    assert (PACKAGE / mutant.file).read_text().count(mutant.right) == 1
    assert mutant.wrong != mutant.right
