"""Whose models an agent uses follows from its program, or from the names of its models."""

from __future__ import annotations

import pytest

from crewd.agents.catalogue import CATALOGUE
from crewd.agents.providers import PROVIDERS, providers_of


@pytest.mark.parametrize(
    ("program", "models", "providers"),
    [
        ("claude", ("opus",), {"anthropic"}), ("codex", ("",), {"openai"}), ("gemini", (), {"google"}),
        ("pi", ("",), {""}), ("pi", ("opus", "openai/gpt-6"), {"", "openai"}),
        ("", ("OpenRouter/anthropic/opus",), {"openrouter"}),
    ],
)  # fmt: skip
def test_the_provider_is_told_by_the_program_or_the_name(program: str, models: tuple[str, ...], providers: set[str]) -> None:
    assert providers_of(program, models) == providers


def test_each_key_that_a_program_looks_for_is_one_of_a_provider() -> None:
    known = {key for keys in PROVIDERS.values() for key in keys}
    assert {key for program in CATALOGUE.values() for key in program.keys} <= known
