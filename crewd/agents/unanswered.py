"""What an agent was told and has not answered: another process that takes its place is told it again. Pure."""

from __future__ import annotations

from crewd.agents import acts as do

OWN = "~"
"""How the key of a message begins that crewd itself has for the agent: nobody gets a receipt for it."""
GO_ON = "Go on where you stopped."


class Unanswered:
    """Messages by id, in order; the task itself has the empty id."""

    def __init__(self) -> None:
        self._open: dict[str, str] = {}
        self._answered: dict[str, None] = {}

    def give(self, key: str, text: str) -> None:
        """The agent is told this."""
        self._open[key] = text

    def note(self, act: do.Applied | do.Done | do.Refused) -> None:
        """How far the agent is with a message."""
        self._open.pop(act.id, None)
        if isinstance(act, do.Applied):
            self._answered[act.id] = None
        else:
            self._answered.pop(act.id, None)

    def stopped(self) -> do.Acts:
        """An agent has come to a stop: what another one had answered before it is done, too."""
        done, self._answered = self._answered, {}
        return [do.Done(key) for key in done if key]

    def again(self, task: str, *, goes_on: bool) -> list[tuple[str, str]]:
        """What an agent in the place of the last one is told; `goes_on`: it knows what was said before."""
        messages = [(key, text) for key, text in self._open.items() if key]
        if not goes_on:
            return [("", task or GO_ON), *messages]
        return messages or [(f"{OWN}go-on", GO_ON)]
