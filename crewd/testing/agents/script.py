"""What a stand-in does: words in what it was asked last decide.

    TOOL 3       (or `sleep 3`) it runs a tool that takes 3 seconds, and then answers
    SLOWTEXT     it answers in 40 words, one each twentieth of a second
    STREAM 500   it answers in 500 pieces, as fast as they are read
    FLOW 200 30  it answers in 200 pieces a second, for 30 seconds
    ROUNDS 7     it runs its tool 7 times, one after the other, before it answers
    BIG 2000000  it runs a tool that gives so many bytes
    ASK          it asks to be allowed the tool first
    ERR401       the model answers so (401, 429, 500), each time
    UNLESS big   the error comes only while its model is not this one
    FLAKY        the model answers 500 once, and then as usual
    PLAN a,b/c   it answers with a plan: tasks for the roles a and b, and after them one for c
    EMPTY        it ends, and says nothing
    NOISE        it prints lines that are no records, and much to its standard error
    DIE 3        it exits with this code in the middle of its work
    HANG         it never answers, and hears nothing but signals

Anything else is answered with `echo: ` and what it was asked.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

ECHO_CHARS = 200
_TOOL = re.compile(r"(?:\bTOOL |`sleep )(\d+(?:\.\d+)?)")
_BIG = re.compile(r"\bBIG (\d+)")
_STREAM = re.compile(r"\bSTREAM (\d+)")
_PLAN = re.compile(r"\bPLAN ([a-z,/-]+)")
_FLOW = re.compile(r"\bFLOW (\d+) (\d+)")
_ROUNDS = re.compile(r"\bROUNDS (\d+)")
_DIE = re.compile(r"\bDIE (\d+)")
_UNLESS = re.compile(r"\bUNLESS (\S+)")
_ERROR = re.compile(r"\bERR(\d{3})\b")


@dataclass(frozen=True)  # a stand-in is started hundreds of times: it imports little
class ScriptPlan:
    """What is done for one text: a tool first (None: none), then words, one each `word_seconds`; or an error of the model."""

    tool_seconds: float | None = None
    tool_bytes: int = 0
    asks: bool = False
    words: tuple[str, ...] = ()
    word_seconds: float = 0.0
    error: int = 0
    good_model: str = ""
    flaky: bool = False
    noise: bool = False
    dies: int | None = None
    hangs: bool = False
    rounds: int = 1

    @property
    def uses_tool(self) -> bool:
        """Whether it runs a tool."""
        return self.tool_seconds is not None or self.tool_bytes > 0 or self.asks


def plan_of(text: str) -> ScriptPlan:
    """The plan for a text."""
    said = frozenset(re.findall(r"\w+", text))  # whole words: CHANGES is not HANG
    tool, big, stream = _TOOL.search(text), _BIG.search(text), _STREAM.search(text)
    unless, flow, rounds = _UNLESS.search(text), _FLOW.search(text), _ROUNDS.search(text)
    error, dies = _ERROR.search(text), _DIE.search(text)
    words: tuple[str, ...] = (f"echo: {text[:ECHO_CHARS]}",)
    if "SLOWTEXT" in said:
        words = tuple(f"word{number} " for number in range(40))
    elif flow:
        words = tuple("word " for _ in range(int(flow[1]) * int(flow[2])))
    elif stream:
        words = tuple("x" * 8 for _ in range(int(stream[1])))
    elif plan := _PLAN.search(text):
        phases = [
            {"tasks": [{"role": role, "task": f"as {role}"} for role in phase.split(",")]} for phase in plan[1].split("/")
        ]
        words = (f"I have a plan.\n\n```json\n{json.dumps({'phases': phases})}\n```\n",)
    elif "EMPTY" in said:
        words = ()
    return ScriptPlan(
        tool_seconds=float(tool[1]) if tool else None, tool_bytes=int(big[1]) if big else 0, asks="ASK" in said, words=words,
        word_seconds=0.05 if "SLOWTEXT" in said else 1 / int(flow[1]) if flow else 0.0,
        error=int(error[1]) if error else 0, flaky="FLAKY" in said, rounds=int(rounds[1]) if rounds else 1,
        noise="NOISE" in said, dies=int(dies[1]) if dies else None, hangs="HANG" in said,
        good_model=unless[1] if unless else "",
    )  # fmt: skip
