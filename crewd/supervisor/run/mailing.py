"""Messages for a run's tasks: to the controller of a living attempt, else held for the next one, laid down or refused.

Tests: tests/testing/world/test_machine.py, tests/test_messages.py.
"""

from __future__ import annotations

from crewd.actors import Lane
from crewd.model.errors import Busy
from crewd.model.events import Draft, MessageAccepted, MessageSettled
from crewd.model.message_kinds import MESSAGE_KINDS, Purpose
from crewd.model.receipts import Effect, Outcome
from crewd.model.rows import MessageRow
from crewd.protocol import replies as rl
from crewd.protocol import requests as rq
from crewd.store.messages import Known, NewMessage, Rejected
from crewd.supervisor import commands as cm
from crewd.supervisor.admission import Accept, Hold, Lay, Refuse, TooMany, admit
from crewd.supervisor.attempt.mailbox import Mail
from crewd.supervisor.caller import Caller
from crewd.supervisor.run import events as heard
from crewd.supervisor.run.phases import IsParked
from crewd.supervisor.run.shell import AnswerReceipt, Deed, RunShell, TakeIn
from crewd.supervisor.run.state import idle


class Mailing:
    """The messages of one run on their way to its workers."""

    def __init__(self, shell: RunShell) -> None:
        self._shell = shell
        self._order = 0
        self._admitting: dict[str, int] = {}
        self._to_hand: dict[tuple[str, int], list[Mail]] = {}

    def begin_after(self, order: int) -> None:
        """Messages that come now are later than this one."""
        self._order = order

    def post(self, command: cm.Command, send: rq.Send) -> None:
        """Somebody sends a message. Raises UsageError or Busy; what is refused otherwise has a receipt."""
        shell = self._shell
        reading = MESSAGE_KINDS[send.kind].purpose is Purpose.READING
        if reading and not command.task and len(shell.run.tasks) > 1:
            self._lay_down(command, send, "", 0)
            return
        task = shell.target(command.task)
        self._order += 1
        seconds = send.deadline_seconds
        wall = None if seconds is None else shell.services.clock.wall() + seconds
        mail = Mail(
            send.id, send.kind, self._order, send.text, send.ask, terms=send.terms, sender=command.caller.owner,
            expires_at=None if seconds is None else shell.now() + seconds,
        )  # fmt: skip
        post = cm.Post(mail, command.caller.owner, command.digest, wall, command.caller, command)
        if task.live:
            controller = shell.controller(task)
            if controller is None or not controller.offer(post):
                shell.put_off(command)
            return
        held = len(task.held.mails) + self._admitting.get(task.id, 0)
        admission = admit(idle(shell.run, task, takes=shell.step(task.id).worker.takes, held=held), mail)
        match admission:
            case Lay():
                self._lay_down(command, send, task.id, task.epoch)
            case TooMany() | Accept():  # nobody is there to accept it
                raise Busy(f"worker {task.id} has too many unsettled messages", hint="try again later")
            case Hold() | Refuse():
                self._record(post, admission)

    def take_back(self, command: cm.Command, withdraw: rq.Withdraw) -> None:
        """Somebody wants a message back."""
        task = self._shell.target(command.task)
        if task.live:
            controller = self._shell.controller(task)
            if controller is None or not controller.offer(cm.TakeBack(withdraw.id, command.caller, command)):
                self._shell.put_off(command)
            return
        self._shell.feed(heard.TakeBack(task.id, withdraw.id))
        self._shell.record([], [AnswerReceipt(command.caller, withdraw.id)])

    def _record(self, post: cm.Post, admission: Hold | Refuse) -> None:
        """Nobody is at work on the task: the message is held for the next attempt, or refused."""
        mail, command, hold = post.mail, post.command, isinstance(admission, Hold)
        task = self._shell.target(command.task)
        accepted = MessageAccepted(
            id=mail.id, kind=mail.kind, text=mail.text, ask=mail.ask, sender=post.sender, digest=post.digest,
            deadline_at=post.deadline_at, terms=mail.terms, effect=admission.effect if isinstance(admission, Hold) else "",
        )  # fmt: skip
        drafts = [Draft(accepted, self._shell.id, task.id, task.epoch, mail.id, "crewd")]
        effects: list[Deed] = [AnswerReceipt(command.caller, mail.id)]
        if isinstance(admission, Hold):
            self._admitting[task.id] = self._admitting.get(task.id, 0) + 1
            effects.insert(0, TakeIn(task.id, mail))
        else:
            refused = MessageSettled(id=mail.id, outcome=Outcome.REFUSED, reason=admission.reason, note=command.note)
            drafts.append(Draft(refused, self._shell.id, task.id, task.epoch, mail.id, "crewd"))

        def kept_out(answer: Known | Rejected) -> None:
            if hold:
                self._admitting[task.id] -= 1
            self._tell_kept_out(command.caller, answer)

        self._shell.record(drafts, effects, guard=NewMessage(mail.id, command.digest), refused=kept_out)

    def _lay_down(self, command: cm.Command, send: rq.Send, task: str, epoch: int) -> None:
        """A message for reading that nobody can read at once: it lies in the run's or the task's mailbox."""
        self._shell.record(
            [Draft(body, self._shell.id, task, epoch, send.id, "crewd") for body in laid_down(command, send)],
            [AnswerReceipt(command.caller, send.id)],
            guard=NewMessage(send.id, command.digest),
            refused=lambda answer: self._tell_kept_out(command.caller, answer),
        )

    def _tell_kept_out(self, caller: Caller, answer: Known | Rejected) -> None:
        if isinstance(answer, Known) and isinstance(answer.row, MessageRow):
            self._shell.respond(caller, rl.ReceiptReply(receipt=answer.row.receipt))
        elif isinstance(answer, Rejected):
            self._shell.respond(caller, answer.error)

    def admitted(self, key: str, mail: Mail) -> None:
        """A message for a task without a living attempt is durable: keep it for the next one, which may be there by now."""
        self._admitting[key] -= 1
        self.take_in(key, mail)

    def take_in(self, key: str, mail: Mail) -> None:
        """A durable message that no controller has."""
        shell = self._shell
        task = shell.run.task(key)
        start = mail.terms.on_idle == "start" and task is not None and (task.over or isinstance(task.phase, IsParked))
        if start:
            shell.feed(heard.StartFor(key, mail, shell.now()))
        elif task is None or shell.run.over or task.over:
            self.settle_late(key, mail)
        elif task.live:
            controller = shell.controller(task)
            if controller is None or not controller.offer(cm.Hand(mail), lane=Lane.CONTROL):
                self._to_hand.setdefault((key, task.epoch), []).append(mail)
        else:
            shell.feed(heard.Hold(key, mail))

    def hand_over(self, key: str, epoch: int) -> list[Mail]:
        """The messages that waited for the controller of this attempt."""
        return self._to_hand.pop((key, epoch), [])

    def settle_late(self, key: str, mail: Mail) -> None:
        """Refuse a message whose task is over."""
        self._shell.feed(heard.TooLate(key, mail))


def laid_down(command: cm.Command, send: rq.Send) -> tuple[MessageAccepted, MessageSettled]:
    """The events of a message for reading, which is done when it lies in a mailbox."""
    accepted = MessageAccepted(
        id=send.id, kind=send.kind, text=send.text, sender=command.caller.owner, digest=command.digest, terms=send.terms,
        effect=Effect.MAILBOX,
    )  # fmt: skip
    return accepted, MessageSettled(id=send.id, outcome=Outcome.DONE)
