"""`make agents`: the real programs that are installed here, through crewd, against a scripted model on loopback.

`python -m tests.agents.real [NAME...]` tries each of them out as `crew agents check` does, with a configuration of its own
that names nothing but the scripted model. What is not installed is skipped. Exit code 1 if something went wrong.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crewd.agents.catalogue import CATALOGUE
from crewd.client.agent_probe import Probe
from crewd.client.agents import agent_named
from crewd.client.environment import Brought
from crewd.clock import SystemClock
from crewd.testing import Daemon
from tests.agents.model import Server

STEP_SECONDS = 120.0
MODEL = {"id": "scripted", "name": "scripted", "contextWindow": 100_000, "maxTokens": 4096}
COST = {"input": 1, "output": 2, "cacheRead": 0, "cacheWrite": 0}


def pi(home: Path, url: str) -> dict[str, Any]:
    """pi and oh-my-pi: a provider of their own."""
    provider = {"baseUrl": f"{url}/v1", "api": "openai-completions", "apiKey": "x", "models": [{**MODEL, "cost": COST}]}
    text = json.dumps({"providers": {"scripted": provider}})
    for name in ("models.json", "models.yml"):  # JSON is YAML
        (home / name).write_text(text)
    return {"more": "--provider scripted", "fields": f"model: scripted\nconfigDir: {home}", "env": {"PI_OFFLINE": "1"}}


def claude(home: Path, url: str) -> dict[str, Any]:
    """Claude Code: another address."""
    env = {"ANTHROPIC_BASE_URL": url, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
    return {"more": "--allowedTools Bash", "fields": f"configDir: {home}", "env": env, "secrets": {"ANTHROPIC_API_KEY": "x"}}


def codex(home: Path, url: str) -> dict[str, Any]:
    """Codex: a provider of its own, and no sandbox for a `sleep`."""
    (home / "config.toml").write_text(
        'model="scripted"\nmodel_provider="scripted"\ncheck_for_update_on_startup=false\napproval_policy="never"\n'
        'sandbox_mode="danger-full-access"\n[model_providers.scripted]\nname="scripted"\nwire_api="responses"\n'
        f'base_url="{url}/v1"\nenv_key="SCRIPTED"\nsupports_websockets=false\n[analytics]\nenabled=false\n'
    )
    return {"fields": f"configDir: {home}", "env": {"SCRIPTED": "x"}}


def opencode(home: Path, url: str) -> dict[str, Any]:
    """opencode: directories and a provider of its own."""
    folder = home / "config" / "opencode"
    folder.mkdir(parents=True)
    model = {"scripted": {"name": "scripted", "limit": {"context": 100_000, "output": 4096}}}
    options = {"baseURL": f"{url}/v1", "apiKey": "x"}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "scripted", "options": options, "models": model}
    configuration = {
        "model": "scripted/scripted", "small_model": "scripted/scripted", "share": "disabled", "autoupdate": False,
        "permission": {"bash": "allow"}, "provider": {"scripted": provider},
    }  # fmt: skip
    (folder / "opencode.json").write_text(json.dumps(configuration))
    directories = {f"XDG_{kind.upper()}_HOME": str(home / kind) for kind in ("config", "data", "state", "cache")}
    off = ("AUTOUPDATE", "MODELS_FETCH", "DEFAULT_PLUGINS", "LSP_DOWNLOAD")
    return {"env": {**directories, **{f"OPENCODE_DISABLE_{each}": "1" for each in off}}}


def gemini(home: Path, url: str) -> dict[str, Any]:
    """Gemini CLI: another address, and no questions."""
    (home / ".gemini").mkdir()
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False}, "general": {"enableAutoUpdate": False, "disableAutoUpdate": True},
        "model": {"name": "gemini-2.5-flash"},
    }  # fmt: skip
    (home / ".gemini" / "settings.json").write_text(json.dumps(settings))
    env = {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_CLI_TRUST_WORKSPACE": "true", "NO_BROWSER": "1"}
    return {"more": "--approval-mode yolo", "env": env, "secrets": {"GEMINI_API_KEY": "x"}}


SETUPS: dict[str, Callable[[Path, str], dict[str, Any]]] = {
    "pi": pi, "omp": pi, "claude": claude, "codex": codex, "opencode": opencode, "gemini": gemini,
}  # fmt: skip


def try_out(name: str, url: str, folder: Path) -> bool:
    """Try one agent out; whether all went well."""
    home = folder / name
    home.mkdir()
    setup = SETUPS[name](home, url)
    command = " ".join([*CATALOGUE[name].command, setup.get("more", "")])
    env = {"HOME": str(home), "PATH": os.environ["PATH"], **setup["env"]}
    variables = "\n".join(f"  {key}: {json.dumps(value)}" for key, value in env.items())
    head = f"runtime: {name}\ncommand: {command}\n{setup.get('fields', '')}\nenv:\n{variables}"
    definition = folder / f"{name}.md"
    definition.write_text(f"---\n{head}\n---\nYou are tried out.\n")
    with Daemon(folder / f"{name}-home") as daemon, daemon.connect() as crew:
        brought = Brought({"PATH": os.environ["PATH"]}, setup.get("secrets", {}), {})
        probe = Probe(crew, agent_named(str(definition)), brought, str(home), SystemClock(), STEP_SECONDS)
        good = True
        for each in probe.run():
            good = good and each.good
            sys.stdout.write(
                f"{name:<9} {each.what:<10} {'ok' if each.good else 'FAILED':<7} {each.seconds:6.1f} s  {each.seen}\n"
            )
            sys.stdout.flush()
    return good


def main(wanted: list[str]) -> int:
    """All agents that are installed, or those of these names; 0 if all went well."""
    server, good = Server(), True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="crewd-") as name:
        for agent in SETUPS:
            if wanted and agent not in wanted:
                continue
            if not agent_named(agent).program:
                sys.stdout.write(f"{agent:<9} skipped: not installed ({CATALOGUE[agent].install})\n")
            else:
                good = try_out(agent, server.url, Path(name)) and good
    server.shutdown()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
