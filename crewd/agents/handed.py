"""Messages that were handed to an agent, and how far the agent has come with each."""

from __future__ import annotations

from dataclasses import dataclass

from crewd.agents.acts import Acts, Applied, Done


@dataclass(slots=True)
class _One:
    text: str
    taken: bool = False
    answered: bool = False


class Handed:
    """In the order in which they were handed over. The prompt of the task itself has no id, and is told of to nobody."""

    def __init__(self) -> None:
        self._all: dict[str, _One] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._all

    def give(self, key: str, text: str) -> None:
        """This one goes to the agent, perhaps again."""
        self._all[key] = _One(text)

    def take(self, key: str) -> None:
        """It is in what the agent sends to its model from now on."""
        if key in self._all:
            self._all[key].taken = True

    def take_text(self, text: str) -> None:
        """The same, from an agent that tells of no ids: the oldest message with this text, or the oldest of all.

        An agent may take a message with another text than it was given, for example with a file in it that the text names.
        """
        waiting = [(key, one) for key, one in self._all.items() if not one.taken]
        found = next((one for _, one in waiting if one.text == text), waiting[0][1] if waiting else None)
        if found is not None:
            found.taken = True

    def waiting(self) -> list[tuple[str, str]]:
        """Those that the agent has not taken, with their texts."""
        return [(key, one.text) for key, one in self._all.items() if not one.taken]

    def drop(self, key: str) -> str:
        """The agent does not have it any more, or never had: its text."""
        one = self._all.pop(key, None)
        return "" if one is None else one.text

    def answered(self) -> Acts:
        """The model has answered a request: whatever was taken is applied."""
        fresh = [key for key, one in self._all.items() if one.taken and not one.answered]
        for key in fresh:
            self._all[key].answered = True
        return [Applied(key) for key in fresh if key]

    def stopped(self) -> Acts:
        """The agent has come to a stop: whatever was answered is done. The others stay."""
        done = [key for key, one in self._all.items() if one.answered]
        for key in done:
            del self._all[key]
        return [Done(key) for key in done if key]
