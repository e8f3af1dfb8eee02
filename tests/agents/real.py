"""`make agents`: the real programs that are installed here, through crewd, against a scripted model on loopback.

`python -m tests.agents.real [NAME...]` tries each of them out as `crew agents check` does, with a configuration of its own
that names nothing but the scripted model. What is not installed is skipped. Exit code 1 if something went wrong.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace

from crewd.agents.catalogue import CATALOGUE
from crewd.client.agent_probe import Probe, ProbeStep
from crewd.client.agents import FoundAgent, agent_named
from crewd.client.blocking import Crew, RunHandle
from crewd.client.environment import Brought
from crewd.client.shapes import agent_workflow, policed
from crewd.clock import SystemClock
from crewd.model.errors import CrewdError
from crewd.model.events import OperationOpened
from crewd.model.ids import marker
from crewd.model.policy import Retry
from crewd.model.redact import clip
from crewd.model.variables import MARKER
from crewd.testing import Daemon
from crewd.testing.daemon import wait_until
from tests.agents.model import Server

STEP_SECONDS = 120.0
SESSION_SECONDS = 5.0
"""So long after its first answer a program has its session on disk: some say nothing of when. Before that it begins anew."""
MODEL = {"id": "scripted", "name": "scripted", "contextWindow": 100_000, "maxTokens": 4096}
COST = {"input": 1, "output": 2, "cacheRead": 0, "cacheWrite": 0}


def pi(home: Path, url: str, *, asks: bool) -> dict[str, Any]:
    """pi and oh-my-pi: a provider of their own. They ask for no permission."""
    del asks
    provider = {"baseUrl": f"{url}/v1", "api": "openai-completions", "apiKey": "x", "models": [{**MODEL, "cost": COST}]}
    text = json.dumps({"providers": {"scripted": provider}})
    for name in ("models.json", "models.yml"):  # JSON is YAML
        (home / name).write_text(text)
    return {"more": "--provider scripted", "fields": f"model: scripted\nconfigDir: {home}", "env": {"PI_OFFLINE": "1"}}


def claude(home: Path, url: str, *, asks: bool) -> dict[str, Any]:
    """Claude Code: another address."""
    env = {"ANTHROPIC_BASE_URL": url, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
    env["CLAUDE_CODE_MAX_RETRIES"] = "1"  # else it tries for minutes
    more = "" if asks else "--allowedTools Bash"
    return {"more": more, "fields": f"configDir: {home}", "env": env, "secrets": {"ANTHROPIC_API_KEY": "x"}}


def codex(home: Path, url: str, *, asks: bool) -> dict[str, Any]:
    """Codex: a provider of its own, and no sandbox for a `sleep`."""
    policy, sandbox = ("on-request", "read-only") if asks else ("never", "danger-full-access")
    (home / "config.toml").write_text(
        f'model="scripted"\nmodel_provider="scripted"\ncheck_for_update_on_startup=false\napproval_policy="{policy}"\n'
        f'sandbox_mode="{sandbox}"\n'
        '[model_providers.scripted]\nname="scripted"\nwire_api="responses"\n'
        f'base_url="{url}/v1"\nenv_key="SCRIPTED"\nsupports_websockets=false\n[analytics]\nenabled=false\n'
    )
    return {"fields": f"configDir: {home}", "env": {"SCRIPTED": "x"}}


def opencode(home: Path, url: str, *, asks: bool) -> dict[str, Any]:
    """opencode: directories and a provider of its own."""
    folder = home / "config" / "opencode"
    folder.mkdir(parents=True)
    model = {"scripted": {"name": "scripted", "limit": {"context": 100_000, "output": 4096}}}
    options = {"baseURL": f"{url}/v1", "apiKey": "x"}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "scripted", "options": options, "models": model}
    configuration = {
        "model": "scripted/scripted", "small_model": "scripted/scripted", "share": "disabled", "autoupdate": False,
        "permission": {"bash": "ask" if asks else "allow"}, "provider": {"scripted": provider},
    }  # fmt: skip
    (folder / "opencode.json").write_text(json.dumps(configuration))
    directories = {f"XDG_{kind.upper()}_HOME": str(home / kind) for kind in ("config", "data", "state", "cache")}
    off = ("AUTOUPDATE", "MODELS_FETCH", "DEFAULT_PLUGINS", "LSP_DOWNLOAD")
    return {"env": {**directories, **{f"OPENCODE_DISABLE_{each}": "1" for each in off}}}


def gemini(home: Path, url: str, *, asks: bool) -> dict[str, Any]:
    """Gemini CLI: another address, and no questions."""
    (home / ".gemini").mkdir()
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False}, "general": {"enableAutoUpdate": False, "disableAutoUpdate": True},
        "model": {"name": "gemini-2.5-flash"},
    }  # fmt: skip
    (home / ".gemini" / "settings.json").write_text(json.dumps(settings))
    env = {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_CLI_TRUST_WORKSPACE": "true", "NO_BROWSER": "1"}
    return {"more": f"--approval-mode {'default' if asks else 'yolo'}", "env": env, "secrets": {"GEMINI_API_KEY": "x"}}


class Setup(Protocol):
    """Writes an agent's own configuration. `asks`: it asks before it runs a command."""

    def __call__(self, home: Path, url: str, /, *, asks: bool) -> dict[str, Any]: ...


SETUPS: dict[str, Setup] = {
    "pi": pi, "omp": pi, "claude": claude, "codex": codex, "opencode": opencode, "gemini": gemini,
}  # fmt: skip


ASK_NOTHING = frozenset({"pi", "omp"})
ESCALATED = {"cmd": "sleep 1", "sandbox_permissions": "require_escalated", "justification": "it is tried out"}
ASKING = {"codex": f"CALL exec_command {json.dumps(ESCALATED)}"}
"""What makes an agent ask: the others ask before each command."""


def defined(name: str, url: str, folder: Path, *, asks: bool) -> tuple[FoundAgent, Brought, Path]:
    """The agent with a configuration of its own below this folder."""
    home = folder / (f"{name}-asks" if asks else name)
    home.mkdir()
    setup = SETUPS[name](home, url, asks=asks)
    command = " ".join([*CATALOGUE[name].command, setup.get("more", "")])
    env = {"HOME": str(home), "PATH": os.environ["PATH"], **setup["env"]}
    variables = "\n".join(f"  {key}: {json.dumps(value)}" for key, value in env.items())
    head = f"runtime: {name}\ncommand: {command}\n{setup.get('fields', '')}\nenv:\n{variables}"
    definition = home / "agent.md"
    definition.write_text(f"---\n{head}\n---\nYou are tried out.\n")
    return agent_named(str(definition)), Brought({"PATH": os.environ["PATH"]}, setup.get("secrets", {}), {}), home


class Scripted:
    """What only a scripted model can show: an error of the model, kill -9 of crewd and of the agent, and a question."""

    def __init__(self, daemon: Daemon, crew: Crew, agent: FoundAgent, brought: Brought, home: Path) -> None:
        self._daemon, self._crew, self._agent, self._brought, self._home = daemon, crew, agent, brought, home

    def _begin(self, goal: str, retry: Retry | None = None, *, forks: bool = False) -> RunHandle:
        agent = replace(self._agent.definition.agent, forks=forks)
        workflow = policed(agent_workflow(agent, self._agent.env), retry=retry)
        return self._crew.run(workflow, goal, cwd=str(self._home), brought=self._brought)

    def _until_tool(self, run: RunHandle) -> None:
        def opened() -> bool:
            return any(isinstance(event.body, OperationOpened) for event in self._crew.events(run.id))

        wait_until(opened, "the tool to run", STEP_SECONDS)

    def _log_of(self, run: RunHandle) -> str:
        return self._crew.log(run.id).data.decode("utf-8", "replace")

    def error(self) -> str:
        """A key that the model refuses."""
        run = self._begin("ERR401", Retry(attempts=3))
        run.wait(timeout=STEP_SECONDS)
        shown = run.show()
        assert shown.run.status == "failed", f"it is {shown.run.status}"
        assert len(shown.attempts) == 1, "it was tried again"
        return clip(shown.tasks[0].error, 100)

    def crash(self) -> str:
        """Kill -9 of crewd while a tool runs."""
        run = self._begin("TOOL 8")
        self._until_tool(run)
        pid = run.show().attempts[-1].pid
        self._daemon.kill()
        self._daemon.start()
        receipt = run.steer("after the kill", wait="settled", timeout=STEP_SECONDS)
        text = str(run.result(timeout=STEP_SECONDS))
        assert (receipt.outcome, run.show().attempts[-1].pid) == ("done", pid), f"{receipt}"
        return f"the same process went on, and said {clip(text, 60)!r}"

    def death(self) -> str:
        """Kill -9 of the agent while a tool runs."""
        run = self._begin("TOOL 600", Retry(attempts=2, backoff_seconds=0.01))
        self._until_tool(run)
        wait_until(lambda: run.show().attempts[-1].checkpoint, "its session to be kept", STEP_SECONDS)
        SystemClock().sleep(SESSION_SECONDS)
        os.kill(run.show().attempts[-1].pid or 0, signal.SIGKILL)
        try:
            wait_until(lambda: len(run.show().attempts) == 2, "another attempt", STEP_SECONDS)
            wait_until(lambda: "›" in self._log_of(run), "it to be told something", STEP_SECONDS)
            if "could not be gone on with" in self._log_of(run):  # Gemini CLI writes a session at the end of a turn
                return "the program had stored no session: a new process began the task again, with a warning"
            last = run.steer("say where you are", wait="settled", timeout=STEP_SECONDS)
            text = str(run.result(timeout=STEP_SECONDS))
        finally:
            run.cancel(mode="now")
        warnings = "; ".join(run.show().attempts[-1].warnings)
        return f"another one went on: {last.outcome}, {clip(text, 60)!r} {clip(warnings, 80)}".strip()

    def fork(self) -> str:
        """An agent below another one begins with a copy of its session."""
        above = self._begin("TOOL 600 tangerine")
        self._until_tool(above)
        wait_until(lambda: above.show().attempts[-1].checkpoint, "its session to be kept", STEP_SECONDS)
        SystemClock().sleep(SESSION_SECONDS)
        os.environ[MARKER] = marker(self._daemon.home.key, above.show().attempts[-1].task, 1)
        try:
            run = self._begin("RECALL", forks=True)
            text = str(run.result(timeout=STEP_SECONDS))
        finally:
            del os.environ[MARKER]
            above.cancel(mode="now")
        attempt = run.show().attempts[-1]
        used = f"{attempt.tokens} tokens, {attempt.cost:.4f}"
        unable = any("cannot copy one" in each or "cannot begin with a copy" in each for each in attempt.warnings)
        assert ("tangerine" in text) is not unable, f"said {clip(text, 60)!r}, {attempt.warnings}"
        return f"said {clip(text, 60)!r} ({used}) {clip('; '.join(attempt.warnings), 80)}".strip()

    def question(self) -> str:
        """It asks to be allowed its tool, and is."""
        run = self._begin(ASKING.get(self._agent.definition.agent.runtime, "TOOL 1"))
        wait_until(lambda: any(ask.closed_at is None for ask in run.show().asks), "a question", STEP_SECONDS)
        [ask] = [ask for ask in run.show().asks if ask.closed_at is None]
        receipt = self._crew.respond(ask.id, "allow", wait="settled", timeout=STEP_SECONDS)
        text = str(run.result(timeout=STEP_SECONDS))
        assert receipt.outcome == "done", f"{receipt}"
        return f"asked {clip(ask.question, 50)!r}; said {clip(text, 40)!r}"


def tell(name: str, each: ProbeStep) -> bool:
    """Print a line; whether it went well."""
    sys.stdout.write(f"{name:<9} {each.what:<10} {'ok' if each.good else 'FAILED':<7} {each.seconds:6.1f} s  {each.seen}\n")
    sys.stdout.flush()
    return each.good


def try_out(name: str, url: str, folder: Path) -> bool:
    """Try one agent out; whether all went well."""
    clock, good = SystemClock(), True
    agent, brought, home = defined(name, url, folder, asks=False)
    with Daemon(folder / f"{name}-home") as daemon, daemon.connect() as crew:
        for each in Probe(crew, agent, brought, str(home), clock, STEP_SECONDS).run():
            good = tell(name, each) and good
        scripted = Scripted(daemon, crew, agent, brought, home)
        steps = [("error", scripted.error), ("crash", scripted.crash), ("death", scripted.death), ("fork", scripted.fork)]
        if name not in ASK_NOTHING:
            asking = Scripted(daemon, crew, *defined(name, url, folder, asks=True))
            steps.append(("question", asking.question))
        for what, step in steps:
            began = clock.monotonic()
            try:
                seen, well = step(), True
            except (CrewdError, AssertionError) as error:
                seen, well = clip(str(error).partition("\n")[0], 150), False
            good = tell(name, ProbeStep(what, well, clock.monotonic() - began, seen)) and good
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
