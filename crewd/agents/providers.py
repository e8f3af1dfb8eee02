"""The providers of models: which variables hold their keys, and whose models an agent uses. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

PROVIDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
    "cursor": ("CURSOR_API_KEY",),
    "google": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "moonshot": ("KIMI_API_KEY", "MOONSHOT_API_KEY"),
    "openai": ("OPENAI_API_KEY", "CODEX_API_KEY"),
    "openrouter": ("OPENROUTER_API_KEY",),
}
"""The variables in which programs look for a key of each."""
_OF_PROGRAMS: Final[Mapping[str, str]] = {
    "claude": "anthropic", "codex": "openai", "cursor": "cursor", "gemini": "google", "kimi": "moonshot",
}  # fmt: skip
"""Programs of the catalogue that have models of one provider."""


def providers_of(program: str, models: Iterable[str]) -> frozenset[str]:
    """Whose models an agent uses. `program` is its name in the catalogue; `models` are as its file has them (`PROVIDER/NAME`).

    The empty name is among them if that cannot be told.
    """
    if program in _OF_PROGRAMS:
        return frozenset({_OF_PROGRAMS[program]})
    return frozenset(model.partition("/")[0].lower() if "/" in model else "" for model in models)
