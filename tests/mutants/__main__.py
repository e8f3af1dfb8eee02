"""`make mutants`: deliberate mistakes in crewd's own code, one at a time; the laws of the simulated world must catch each.

A mutant is a change of text in a copy of the package. A mistake that has a story in `tests/testing/world/stories.json` must
break a law of that story; if it does not, and for every other one, the hunt of `make stress` runs over the copy. Exit code 1
if a mutant lives, or if a change does not apply any more.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import crewd

PACKAGE = Path(crewd.__file__).parent
SCENARIOS = 4_000
AT_ONCE = 2
STORIES = Path(__file__).parent.parent / "testing" / "world" / "stories.json"
PLAY = """
import json, sys
from crewd.testing.world.faults import DAYS
from crewd.testing.world.hunt import try_out
from crewd.testing.world.play import Move
story = json.load(sys.stdin)
broken = try_out(story["seed"], [Move(verb, given) for verb, given in story["moves"]], DAYS[story["faults"]])
print(f"its story: {broken}" if broken else "")
sys.exit(broken is not None)
"""


@dataclass(frozen=True)
class Mutant:
    """One mistake: in `file`, `right` becomes `wrong`."""

    name: str
    file: str
    right: str
    wrong: str
    found: bool = False
    """Whether crewd had this very mistake, until simulation found it."""
    first: int = 0
    """The seed at which the hunt begins: for a mistake that only a rare scenario shows."""


MUTANTS = (
    Mutant(
        "an approval that is asked for again is carried out again",
        "supervisor/run/orders.py",
        "        case rq.Approve() | rq.Dismiss() if _is_done(shell.run.orders, _order(request, command.task)):\n",
        "        case rq.Approve() | rq.Dismiss() if not request:\n",
        found=True,
    ),
    Mutant(
        "one empty look proves that a worker is gone",
        "guardian/ladder.py",
        "        return ladder, NextStep(over=ladder.empty_looks > 1, look_again_at=at)\n",
        "        return ladder, NextStep(over=True, look_again_at=at)\n",
    ),
    Mutant(
        "a worker is over when its first process is",
        "guardian/care.py",
        "    if not step.over:\n        return care, tuple(effects)\n",
        "    if not step.over and not isinstance(state, Draining):\n        return care, tuple(effects)\n",
    ),
    Mutant(
        "only the first process of a worker is looked at",
        "guardian/guard.py",
        "            procs = found.members.get(key, ())\n            effects += self._decide(\n",
        "            procs = found.members.get(key, ())[:1]\n            effects += self._decide(\n",
    ),
    Mutant(
        "what leaves its session leaves its worker",
        "guardian/tree.py",
        "                key = None if kin else self._owner.get(proc.ppid)\n",
        "                key = None\n",
    ),
    Mutant(
        "markers are not read",
        "guardian/guard.py",
        "            if key is not None:\n                marked[pid] = key\n",
        "            if False and key is not None:\n                marked[pid] = key\n",
    ),
    Mutant(
        "an exit record is forgotten before it is confirmed",
        "guardian/guard.py",
        "        self._records[record.task, record.epoch] = record\n        return [Tell(record)]\n",
        "        return [Tell(record)]\n",
    ),
    Mutant(
        "a worker that is alone lives for ever",
        "guardian/care.py",
        "            if care.orphan_at is None or event.now < care.orphan_at:\n",
        "            if True or event.now < (care.orphan_at or 0.0):\n",
    ),
    Mutant(
        "a process that cannot be killed is not named",
        "guardian/care.py",
        "    survivors = tuple(alive[pid] for pid in sorted(alive))\n",
        "    survivors: tuple[Proc, ...] = ()\n",
    ),
    Mutant(
        "what an earlier guardian has left is not taken over",
        "guardian/guard.py",
        "            if members:\n                effects += self._take_over(",
        "            if False:\n                effects += self._take_over(",
    ),
    Mutant(
        "each event hangs on the trunk",
        "store/places.py",
        "        parent = self._end((run, task, epoch)) if epoch or not task else 0\n",
        '        parent = self._end((run, "", 0))\n',
    ),
    Mutant(
        "after a restart a branch begins anew",
        "store/places.py",
        "            found = self._ends[branch] = self._log.last_seq_of(*branch)\n",
        "            found = self._ends[branch] = 0\n",
    ),
    Mutant(
        "a wait that needs its own waiter is let in",
        "supervisor/gateway/waitgraph.py",
        "        if node == waiter:\n            return _way_back(came, waiter)\n",
        "        if node == waiter:\n            return None\n",
    ),
    Mutant(
        "who waits for others keeps its place",
        "supervisor/run/decide.py",
        "            return go_on(run.with_task(asker.become(IsLive(waiting))).at(at), [])\n",
        "            return go_on(run.with_task(asker).at(at), [])\n",
    ),
    Mutant(
        "a lease never runs out",
        "supervisor/run/claims.py",
        "        if isinstance(task.phase, IsClaimed) and task.phase.due <= run.now:\n",
        "        if isinstance(task.phase, IsClaimed) and task.phase.due < 0:\n",
    ),
    Mutant(
        "a task can be claimed from under its holder",
        "supervisor/run/claims.py",
        "    if isinstance(task.phase, IsClaimed) and not _is(task.phase.claim, holder):\n",
        "    if isinstance(task.phase, IsClaimed) and run.over:\n",
    ),
    Mutant(
        "crewd starts what somebody else carries out",
        "supervisor/run/claims.py",
        "    task = replace(task, phase=IsClaimed(info, at + seconds), tried",
        "    task = replace(task, phase=IsQueued(), tried",
    ),
    Mutant(
        "news that were seen come again",
        "store/reader.py",
        "        after = request.after or (0 if client is None else client.seen)\n",
        "        after = request.after\n",
    ),
    Mutant(
        "what a subscriber has no credit for is skipped",
        "supervisor/gateway/publisher.py",
        "        if feed.spent:\n            return False\n",
        "        if feed.spent:\n            feed.went(event.seq)\n            return True\n",
    ),
    Mutant(
        "a guardian that hangs is waited for",
        "supervisor/guardian_link.py",
        "        if pulse.is_given_up(now, at_work=at_work) and self._port.kill():\n",
        "        if pulse.is_given_up(now, at_work=at_work) and not self._port:\n",
    ),
    Mutant(
        "the second end of a run that joins is not told",
        "supervisor/run/again.py",
        "undelivered=(), deadline=deadline, openings=run.openings + 1)\n",
        "undelivered=(), deadline=deadline, joins=False)\n",
    ),
    Mutant(
        "a run that is opened again leaves nevertheless",
        "supervisor/run/actor.py",
        "            self._leaving = False  # opened again before it had left\n",
        "            pass\n",
        found=True,
    ),
    Mutant(
        "a message is taken in a turn that it is not for",
        "worker/desk.py",
        "        return message.turn in {0, self._turn}",
        "        return True",
    ),
    Mutant(
        "a message that was to start a worker is forgotten in a crash",
        "supervisor/run/actor.py",
        "            self._take_up(unsettled, wall, now, times)\n            if self._run.over:",
        "            if self._run.over:",
    ),
    Mutant(
        "a run that begins while crewd ends everything is left alone",
        "supervisor/run/actor.py",
        "        if ending is not None and self._run is not None and not",
        "        if False and self._run is not None and not",
    ),
    Mutant(
        "one try too many",
        "supervisor/run/tries.py",
        "if failed and tries < allowed and not hopeless:",
        "if failed and tries <= allowed and not hopeless:",
    ),
    Mutant(
        "how many lives in a row were short is forgotten in a restart",
        "store/fold.py",
        "replace(task, retry_at=due_at, reason=reason, error=error, in_a_row=in_a_row),",
        "replace(task, retry_at=due_at, reason=reason, error=error),",
        found=True,
    ),
    Mutant(
        "a retry beats the cancel",
        "supervisor/run/decide.py",
        "        case tries.TryAgain(kind, due) if run.cancel is None and task.cancel is None:\n",
        "        case tries.TryAgain(kind, due):\n",
    ),
    Mutant(
        "a place is given to many",
        "supervisor/slots.py",
        "        self.held.add(key)\n        self.starting[key] = self.now + STARTING_SECONDS\n        return key",
        "        self.starting[key] = self.now + STARTING_SECONDS\n        return key",
    ),
    Mutant(
        "a child of a parent that ended while crewd was away lives on",
        "supervisor/front.py",
        "                if row is None or row.status in ATTEMPT_TERMINAL:\n",
        "                if row is None:\n",
    ),
    Mutant(
        "an end leaves a notice open",
        "supervisor/attempt/watch.py",
        "for kind in state.observed.notices]\n",
        "for kind in state.observed.notices[1:]]\n",
    ),
    Mutant(
        "the back-off is forgotten when crewd comes back",
        "supervisor/run/actor.py",
        "            if due is not None and not self._run.over:\n                self._perform(do.AlarmAt(due))\n",
        "            if due is not None and self._run.over:\n                self._perform(do.AlarmAt(due))\n",
    ),
    Mutant(
        "silence of the process alone is no death",
        "supervisor/attempt/watch.py",
        "    if min(quiet, mute) >= gradient.dead_seconds:\n",
        "    if min(quiet, mute) >= 100 * gradient.dead_seconds:\n",
    ),
    Mutant(
        "effect before commit",
        "supervisor/journal.py",
        "                self.store().tell(Append(tuple(entry.drafts), self.ref, entry.token))\n",
        "                self.store().tell(Append(tuple(entry.drafts), self.ref, entry.token))\n"
        "                entry.durable = True\n                self._flush()\n",
    ),
    Mutant(
        "lost close: nobody hears that an actor has ended",
        "actors/system.py",
        "            watcher.signal(Down(ref, reason, ref.incarnation))\n\n    def stop",
        "            pass\n\n    def stop",
    ),
    Mutant(
        "off-by-one epoch",
        "supervisor/run/schedule.py",
        "effects.append(StartAttempt(task.id, task.epoch + 1, task.held.mails))",
        "effects.append(StartAttempt(task.id, task.epoch + 2, task.held.mails))",
    ),
    Mutant(
        "missing dedupe in the worker",
        "worker/desk.py",
        "            if message.id in self._seen:\n                return\n",
        "",
    ),
    Mutant(
        "missing dedupe in the store",
        "store/guards.py",
        "                if row.digest == digest:\n                    return Known(0, row)\n",
        "                if row.digest == digest:\n                    return None\n",
    ),
    Mutant(
        "terminal does not absorb",
        "supervisor/attempt/decide.py",
        "    if state.over:\n        return _after_the_end(state, event)\n",
        "    if state.over and isinstance(event, heard.Send):\n        return _after_the_end(state, event)\n",
    ),
    Mutant(
        "what is said to a worker does not wait for the disk",
        "supervisor/attempt/controller.py",
        "        return isinstance(effect, do.EndWorker) or (isinstance(effect, do.Say) and effect.urgent)\n",
        "        return isinstance(effect, do.EndWorker | do.Say)\n",
    ),
    Mutant(
        "a cancel does not reach every live task",
        "supervisor/run/decide.py",
        "        if task.live:\n            effects.append(CancelAttempt",
        "        if task.status is TaskStatus.WAITING:\n            effects.append(CancelAttempt",
    ),
    Mutant(
        "queued tasks of a cancelled run are forgotten",
        "supervisor/run/decide.py",
        "        elif not task.over:\n            run, ended = end_at_rest(run, task, TaskStatus.CANCELLED",
        "        elif task.id == '':\n            run, ended = end_at_rest(run, task, TaskStatus.CANCELLED",
    ),
    Mutant(
        "a cancel goes through the data lane",
        "supervisor/gateway/serving.py",
        "        lane = command.lane\n",
        "        lane = Lane.DATA\n",
    ),
    Mutant(
        "whoever cancels what has ended waits for an end that was",
        "supervisor/run/orders.py",
        "    elif has_ended:\n",
        "    elif has_ended and not has_ended:\n",
        found=True,
    ),
    Mutant(
        "the gateway is not told that it has missed news",
        "store/actor.py",
        "            self._missed = not listener.offer(published)\n",
        "            listener.offer(published)\n",
    ),
    Mutant(
        "messages of an ended attempt stay open",
        "supervisor/attempt/finish.py",
        "    events = (*process, *settled, *asks,",
        "    events = (*process, *asks,",
    ),
    Mutant(
        "operations of an ended attempt stay open",
        "supervisor/attempt/finish.py",
        "*asks, *_close_operations(state, reason, cancelled=cancelled), *watch",
        "*asks, *watch",
    ),
    Mutant(
        "the natural stop does not look for follow-ups",
        "supervisor/attempt/reports.py",
        "    if inbox.box.waiting_for_code() or any(mail.purpose is Purpose.WORK for mail in inbox.pending):",
        "    if inbox.box.full:",
    ),
    Mutant(
        "the reservation does not look for a tombstone",
        "store/guards.py",
        'return Rejected(0, Refused("the run was cancelled", reason=cancel.reason)) if cancel else None',
        "return None",
        found=True,
    ),
    Mutant(
        "the exit is confirmed before it is durable",
        "supervisor/attempt/controller.py",
        "                self._feed(heard.Ended(notice, _words(notice.unsent_reports), self._services.clock.wall()))\n",
        "                self._perform(do.Confirm())\n"
        "                self._feed(heard.Ended(notice, _words(notice.unsent_reports), self._services.clock.wall()))\n",
    ),
    Mutant(
        "unsent reports are not read",
        "supervisor/attempt/end.py",
        "        if report.number == state.contact.reports + 1:\n            state, decision = take_report",
        "        if False:\n            state, decision = take_report",
    ),
    Mutant(
        "a failed commit is taken for a success",
        "store/actor.py",
        "            except StoreUnavailable as error:\n                self._keep_trying(error)\n",
        "            except StoreUnavailable as error:\n                str(error)\n",
    ),
    Mutant(
        "an old answer of the guardian is believed",
        "supervisor/attempt/end.py",
        "    if number is not None and not state.asked_before_spawn < number <= state.questions:\n",
        "    if number is not None and number < 0:\n",
        found=True,
        first=10868,
    ),
    Mutant(
        "the worker forgets reports that are not durable",
        "worker/desk.py",
        "            self._drop(reports)\n            self._sent = reports\n",
        "            self._drop(reports)\n",
    ),
    Mutant(
        "the client does not ask again",
        "client/conversation.py",
        "        if self._beats % AGAIN_BEATS == 0:\n",
        "        if self._beats < 0:\n",
        found=True,
    ),
    Mutant(
        "what a hook has blocked is tried again at once",
        "supervisor/run/decide.py",
        "    run, blocked = blocks.block(run.with_task(task), BlockReason.HOOK, text, task)\n",
        "    run, blocked = run.with_task(task), list[Recorded]()\n",
    ),
    Mutant(
        "a blocked run starts what is ready",
        "supervisor/run/schedule.py",
        "        if not _is_ready(task, done, run.now) or not blocks.may_start(run, task):\n",
        "        if not _is_ready(task, done, run.now):\n",
    ),
    Mutant(
        "a feed forgets how far it has come",
        "client/conversation.py",
        "            self.open[key] = msgspec.structs.replace(request, after=note.event.seq)\n",
        "",
    ),
    Mutant(
        "the newest message is taken first",
        "worker/desk.py",
        "            message = queue.popleft()\n",
        "            message = queue.pop()\n",
    ),
    Mutant(
        "a report that changed nothing is acknowledged and not recorded",
        "supervisor/attempt/reports.py",
        "        events=events or (ev.ReportTaken(report=report.number),),\n",
        "        events=events,\n",
        found=True,
    ),
    Mutant(
        "events of a commit that failed keep their places",
        "store/actor.py",
        "        self._places.forget()\n        self._fold_unflushed()\n",
        "        self._fold_unflushed()\n",
    ),
    Mutant(
        "what is committed and not flushed is forgotten when the disk refuses",
        "store/actor.py",
        "        for event in events:\n            self._cache.begin()\n            fold(self._cache, event)\n",
        "",
    ),
    Mutant(
        "readers do not wait for what was committed",
        "store/follower.py",
        "        elif not (self._overlay.behind or self._overlay.waits):\n",
        "        elif True:\n",
    ),
    Mutant(
        "an exit that nobody claims is judged by the clock",
        "supervisor/guardian_link.py",
        "        store = self._services.directory.find(STORE)\n        if store is None or not",
        "        store = self._services.directory._parts[STORE.name]\n        self._judged(task, epoch, over=True)\n"
        "        if False and not",
        found=True,
    ),
    Mutant(
        "a message enters the mailbox before it is durable",
        "supervisor/attempt/messages.py",
        "    state = state.with_inbox(pending=(*state.inbox.pending, send.mail))\n",
        "    state = state.with_inbox(box=state.inbox.box.add(send.mail))\n",
        found=True,
    ),
    Mutant(
        "a message is held before it is durable",
        "supervisor/run/mailing.py",
        "            effects.insert(0, TakeIn(task.id, mail))\n",
        "            self.admitted(task.id, mail)\n",
        found=True,
    ),
    Mutant(
        "what the worker may have is declared withdrawn",
        "supervisor/attempt/messages.py",
        "    if state.contact.capabilities is not None and not number:\n",
        "    if False:\n",
        found=True,
    ),
    Mutant(
        "what a killed worker may have taken is refused",
        "supervisor/attempt/finish.py",
        "    heard_out = state.contact.capabilities is None or outcome is not None\n",
        "    heard_out = True\n",
        found=True,
    ),
    Mutant(
        "a start is not bounded after a restart",
        "supervisor/attempt/start.py",
        "    if not isinstance(state.phase, Spawned):\n        return state, decision\n",
        "    if not isinstance(state.phase, Working):\n        return state, decision\n",
        found=True,
    ),
    Mutant(
        "what was started before its start was recorded is started again",
        "supervisor/attempt/end.py",
        "    if unborn and isinstance(phase, Sought):\n",
        "    if isinstance(phase, Sought):\n",
        found=True,
    ),
    Mutant(
        "a message is delivered before it is admitted",
        "supervisor/attempt/messages.py",
        "    return state, Decision((accepted(send, effect_on(state, send.mail)),), tuple(effects), admits=send, "
        "causation=send.mail.id)\n",
        "    return state, Decision((accepted(send, effect_on(state, send.mail)),), tuple(effects), admits=send, "
        "causation=send.mail.id, prompt=(do.Say(send.mail.deliver()),))\n",
        found=True,
    ),
    Mutant(
        "the ladder is not ordered",
        "supervisor/attempt/end.py",
        "    effects: Effects = (do.Say(cancel_order(cancel), urgent=True), ladder(cancel))\n",
        "    effects: Effects = (do.Say(cancel_order(cancel), urgent=True),)\n",
    ),
    Mutant(
        "only the latest report counts against the budget",
        "supervisor/run/decide.py",
        ".with_used(run.own + (used - task.used), run.below)\n",
        ".with_used(used, run.below)\n",
    ),
    Mutant(
        "a restart forgets what earlier attempts have used",
        "supervisor/run/recall.py",
        "for row in rows}\n\n\ndef mail_of",
        "for row in rows[-1:]}\n\n\ndef mail_of",
    ),
    Mutant(
        "a restart forgets what runs below have used",
        "supervisor/run/recall.py",
        ".with_used(sum(spent.values(), start=Used()), below)",
        ".with_used(sum(spent.values(), start=Used()), {})",
    ),
    Mutant(
        "a run does not tell the one above it what it uses",
        "supervisor/run/actor.py",
        "            for above in self.row.above:\n",
        "            for above in ():\n",
    ),
    Mutant(
        "tasks start though the budget is used",
        "supervisor/run/schedule.py",
        " or run.budget_used:\n",
        ":\n",
    ),
    Mutant(
        "a used budget ends nothing",
        "supervisor/run/decide.py",
        "    elif run.budget_due is not None and run.now >= run.budget_due:\n",
        "    elif False and run.budget_due is not None and run.now >= run.budget_due:\n",
    ),
)


def plant(mutant: Mutant, folder: Path) -> int:
    """A copy of the package with the mistake in it; in how many places the change applies (it should be one)."""
    copy = folder / "crewd"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    path = copy / mutant.file
    text = path.read_text()
    path.write_text(text.replace(mutant.right, mutant.wrong))
    return text.count(mutant.right)


def run(mutant: Mutant) -> tuple[str, bool, float]:
    """Plant the mistake and hunt: (the law that caught it or what went wrong, caught, seconds)."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crewd-mutant-") as folder:
        places = plant(mutant, Path(folder))
        if places != 1:
            return f"the change does not apply ({places} places)", False, 0.0
        story = next((story for story in json.loads(STORIES.read_text()) if story["wrong"] == mutant.name), None)
        hunted = _python(folder, "-c", PLAY, given=json.dumps(story)) if story else None
        if hunted is None or not hunted.returncode:
            hunted = _python(
                folder, *("-m", "crewd.testing.world.hunt", "--no-shrink"),
                *("--scenarios", str(SCENARIOS), "--seed", str(mutant.first)),
            )  # fmt: skip
    said = (hunted.stdout.strip() or hunted.stderr.strip()).splitlines()
    if hunted.returncode == 1 and hunted.stdout:
        return said[-1][:110], True, time.monotonic() - begun
    return ("it lives" if hunted.returncode == 0 else f"no hunt: {said[-1:]}"), False, time.monotonic() - begun


def _python(folder: str, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Python with the copy in `folder` as its crewd."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def main(wanted: list[str]) -> int:
    """All mutants, or those whose names contain one of these words; 0 if none lives."""
    mutants = [mutant for mutant in MUTANTS if not wanted or any(word in mutant.name for word in wanted)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        dead = 0
        for mutant, (words, caught, seconds) in zip(mutants, pool.map(run, mutants), strict=True):
            print(f"{'caught' if caught else 'LIVES ':<7} {seconds:5.1f} s  {mutant.name:<48} {words}", flush=True)
            dead += caught
    print(f"{dead} of {len(mutants)} mutants caught")
    return 0 if dead == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
