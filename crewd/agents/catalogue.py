"""The agents that crewd knows: a table with one row for each. A further agent that speaks ACP is one more row."""

from __future__ import annotations

from typing import Final

import msgspec

from crewd.model.agent import Agent, AgentRuntime

_MODELS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY", "MISTRAL_API_KEY", "GROQ_API_KEY")


class Known(msgspec.Struct, frozen=True):
    """One agent.

    `command` is its program and first arguments, `install` how to get it. The program gets `keys` (variables that hold secrets)
    and `variables` from the caller's environment, where they are set. `tried` is the version that was tested with crewd; empty
    if none was.
    """

    title: str
    runtime: AgentRuntime
    command: tuple[str, ...]
    install: str
    keys: tuple[str, ...] = _MODELS
    variables: tuple[str, ...] = ()
    tried: str = ""


CATALOGUE: Final[dict[str, Known]] = {
    "pi": Known(
        "pi", "pi", ("pi",), "npm install -g @earendil-works/pi-coding-agent",
        variables=("PI_CODING_AGENT_DIR", "PI_OFFLINE"), tried="1.6.0",
    ),
    "omp": Known(
        "oh-my-pi", "omp", ("omp",), "npm install -g @oh-my-pi/pi-coding-agent bun",
        variables=("PI_CODING_AGENT_DIR", "PI_OFFLINE"), tried="18.2.0",
    ),
    "claude": Known(
        "Claude Code", "claude", ("claude",), "npm install -g @anthropic-ai/claude-code",
        ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
        ("ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL", "CLAUDE_CONFIG_DIR", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"), "2.1.332",
    ),
    "codex": Known(
        "Codex", "codex", ("codex",), "npm install -g @openai/codex", ("OPENAI_API_KEY", "CODEX_API_KEY"),
        ("OPENAI_BASE_URL", "CODEX_HOME"), "0.171.0",
    ),
    "opencode": Known(
        "opencode", "acp", ("opencode", "acp"), "npm install -g opencode-ai", variables=("OPENCODE_CONFIG",), tried="1.18.33",
    ),
    "gemini": Known(
        "Gemini CLI", "acp", ("gemini", "--acp"), "npm install -g @google/gemini-cli", ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        ("GOOGLE_GEMINI_BASE_URL", "GOOGLE_CLOUD_PROJECT", "GEMINI_CLI_TRUST_WORKSPACE"), "0.61.0",
    ),
    "cursor": Known("Cursor CLI", "acp", ("cursor-agent", "acp"), "see https://cursor.com/cli", ("CURSOR_API_KEY",)),
    "goose": Known("goose", "acp", ("goose", "acp"), "see https://block.github.io/goose"),
    "qwen": Known("Qwen Code", "acp", ("qwen", "--acp"), "npm install -g @qwen-code/qwen-code", ("OPENAI_API_KEY",)),
    "kimi": Known("Kimi CLI", "acp", ("kimi", "acp"), "uv tool install kimi-cli", ("KIMI_API_KEY", "MOONSHOT_API_KEY")),
}  # fmt: skip


def agent_of(name: str, known: Known) -> Agent:
    """The agent as it is, with its own configuration."""
    return Agent(runtime=known.runtime, command=known.command, name=name)
