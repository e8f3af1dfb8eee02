"""An actor runtime on Pykka: dispatcher, two-lane inboxes, supervision, death watch, timers.

Rule 1: an actor on the brain's dispatcher never blocks; one that must (an fsync) is pinned to a thread of its own.
Rule 2: actors talk by `tell`; a blocking `ask` from inside an actor raises. Only code outside may wait, with a deadline.
Rule 3: a message is handled, refused to its sender, or returned at the close: never lost in silence.
Rule 4: this room knows nothing of crews, disks or sockets. What must not be lost is in the store before anybody is told.

What Pykka gives: the actor, its ref, its future, its hooks. What it lacks is added through the seams that
it leaves for new actor types (`_create_actor_inbox`, `_create_future`, `_start_actor_loop`). Its process-wide registry is
not used: removal is linear there and `stop_all` stops at the first slow actor; `ActorSystem` keeps its own table.
"""

from crewd.actors.actor import Actor, ActorContext, AnyActor, System
from crewd.actors.dispatch import BrainDispatcher, Dispatcher, HasTurns, PinnedDispatcher, Poller, Turn
from crewd.actors.exits import ActorDead, BlockingAsk, ExitKind, ExitReason, InboxFull, StartFailed
from crewd.actors.inbox import Lane
from crewd.actors.metrics import ClassMetrics, LongTurn
from crewd.actors.ref import AnyRef, Ref
from crewd.actors.signals import Down, LinkBroken
from crewd.actors.spec import AutoShutdown, Backoff, ChildSpec, Intensity, Restart, Strategy
from crewd.actors.supervisor import StartDynamic, StartParked, StopDynamic, Supervisor, ToSupervisor
from crewd.actors.system import ActorSystem
from crewd.actors.timers import Timer, Timers
from crewd.actors.watchdog import Watchdog

__all__ = [
    "Actor",
    "ActorContext",
    "ActorDead",
    "ActorSystem",
    "AnyActor",
    "AnyRef",
    "AutoShutdown",
    "Backoff",
    "BlockingAsk",
    "BrainDispatcher",
    "ChildSpec",
    "ClassMetrics",
    "Dispatcher",
    "Down",
    "ExitKind",
    "ExitReason",
    "HasTurns",
    "InboxFull",
    "Intensity",
    "Lane",
    "LinkBroken",
    "LongTurn",
    "PinnedDispatcher",
    "Poller",
    "Ref",
    "Restart",
    "StartDynamic",
    "StartFailed",
    "StartParked",
    "StopDynamic",
    "Strategy",
    "Supervisor",
    "System",
    "Timer",
    "Timers",
    "ToSupervisor",
    "Turn",
    "Watchdog",
]
