"""What requests must be at the door: everything that can be said without knowing what they are about.

Tests: tests/hostile/test_clients.py.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping

import msgspec

from crewd.model.errors import Forbidden, NotFound, UsageError
from crewd.model.hooks import ACT_POINTS, CHANGES, HOOKS_MAX
from crewd.model.ids import ASK, MESSAGE, check_name, is_id
from crewd.model.limits import (
    CLAIM_TOKEN_CHARS,
    GRACE_SECONDS_DEFAULT,
    GRACE_SECONDS_MAX,
    INLINE_BYTES_MAX,
    LEASE_SECONDS_MAX,
    NOTE_CHARS_MAX,
    SECRETS_BYTES_MAX,
    TEXT_CHARS_MAX,
)
from crewd.model.message_kinds import MESSAGE_KINDS, Purpose
from crewd.model.numbers import SECONDS_MAX
from crewd.model.reasons import CancelReason
from crewd.model.redact import clip, redact
from crewd.model.rights import check_intent
from crewd.model.terms import check_terms
from crewd.model.variables import check_variable
from crewd.protocol.keeping import Backup, Import, KeepRequest, Prune
from crewd.protocol.requests import (
    Approve,
    AwaitEnd,
    Cancel,
    Claim,
    Dismiss,
    Doctor,
    Finish,
    Release,
    Reopen,
    Request,
    Send,
    Signal,
    StopDaemon,
    TellHooks,
)

NUMBER_MAX = 1 << 62
"""What the database compares its own numbers with; clients use it for 'after all of them'."""
LEAST = {"limit": 1, "after": 0, "before": 0, "epoch": 0, "upto": 0}
"""The least that the whole numbers of these names can be, in every request."""
TIMEOUT_SECONDS_MAX = 7 * 86_400.0


def check_seconds(seconds: float) -> None:
    """A timeout. Raises UsageError for one that is not possible."""
    if not 0 <= seconds <= TIMEOUT_SECONDS_MAX:
        raise UsageError(f"a timeout of {seconds:g} s is not possible", hint=f"0 to {TIMEOUT_SECONDS_MAX:g}")


def _check_grace(grace: float) -> None:
    if not 0 <= grace <= GRACE_SECONDS_MAX:
        raise UsageError(f"a grace of {grace:g} s is not possible", hint=f"0 to {GRACE_SECONDS_MAX:g}")


def check_send(send: Send) -> Send:
    """The message with all its terms and without secrets. Raises UsageError, or NotFound, naming what is wrong."""
    if not is_id(send.id, MESSAGE):
        raise UsageError(f"{send.id!r} is not a message id", hint="m_ and 26 characters, made by the sender")
    if len(send.text) > TEXT_CHARS_MAX:
        raise UsageError(f"the text has {len(send.text)} characters", hint=f"at most {TEXT_CHARS_MAX}")
    row = MESSAGE_KINDS[send.kind]
    if row.purpose is not Purpose.ANSWER and not row.overtakes and not send.text.strip():  # a steer may be an empty line
        raise UsageError("the message has no text", hint="give it a text")
    if row.purpose is Purpose.ANSWER and not send.ask:
        raise UsageError("a response names its question", hint="crew inbox lists open questions")
    if send.ask and not is_id(send.ask, ASK):
        raise NotFound(f"no question has the id {clip(send.ask, 64)}", hint="crew inbox lists open ones")
    if send.terms.reply_to and not is_id(send.terms.reply_to, MESSAGE):
        raise NotFound(f"no message has the id {clip(send.terms.reply_to, 64)}", hint="crew messages RUN lists their ids")
    check_seconds(send.timeout_seconds)
    if send.deadline_seconds is not None and not 0 < send.deadline_seconds <= SECONDS_MAX:
        raise UsageError(
            f"a deadline in {send.deadline_seconds:g} s is not possible",
            hint=f"more than 0, at most {SECONDS_MAX:,.0f} s; leave it out for none",
        )
    return msgspec.structs.replace(send, text=redact(send.text), terms=check_terms(send.kind, send.terms))


def check_secrets(values: Mapping[str, str]) -> None:
    """Raises UsageError for variables that no worker could be given; the error never holds a value."""
    for name, value in values.items():
        check_variable("a secret", name)
        if "\0" in value:
            raise UsageError(f"the secret {name} holds a NUL byte", hint="no program can be given one")
    if sum(len(name.encode()) + len(value.encode()) + 10 for name, value in values.items()) > SECRETS_BYTES_MAX:
        raise UsageError(f"the variables that are not kept have more than {SECRETS_BYTES_MAX} bytes", hint="use a file")


def check_cancel(cancel: Cancel) -> Cancel:
    """The cancel with its grace. Raises UsageError naming what is wrong."""
    if cancel.reason not in set(CancelReason):
        raise UsageError(f"{cancel.reason!r} is no reason", hint=f"use one of {', '.join(CancelReason)}")
    grace = GRACE_SECONDS_DEFAULT if cancel.grace_seconds is None else cancel.grace_seconds
    _check_grace(grace)
    check_seconds(cancel.timeout_seconds)
    return msgspec.structs.replace(
        cancel, grace_seconds=0.0 if cancel.mode == "now" else grace, intent=clip(cancel.intent, NOTE_CHARS_MAX)
    )


Targeted = Reopen | Approve | Dismiss | Signal | Claim | Release | Finish


def check_command(request: Targeted) -> Targeted:
    """The request with what it says in words bounded. Raises UsageError naming what is wrong."""
    match request:
        case Claim() | Release() | Finish():
            check_claim(request)
            return request
        case Signal(number=number) if not 1 <= number < signal.NSIG:
            raise UsageError(f"{number} is no signal", hint=f"1 to {signal.NSIG - 1}")
        case Reopen(secrets=values):
            check_secrets(values)
    if isinstance(request, Approve | Dismiss | Reopen):
        _check_message_id(request.id)
    return msgspec.structs.replace(request, intent=clip(request.intent, NOTE_CHARS_MAX))


def check(request: Request) -> Request:
    """The request as it goes on: complete, bounded and without secrets. Raises UsageError naming what is wrong."""
    for name in request.__struct_fields__:
        number = getattr(request, name)
        if type(number) is int and abs(number) > NUMBER_MAX:
            raise UsageError(f"{name} is {number}, which is out of range", hint=f"{-NUMBER_MAX} to {NUMBER_MAX} are possible")
        if type(number) is int and number < LEAST.get(name, number):
            raise UsageError(f"{name} is {number}, which is too small", hint=f"{LEAST[name]} or more")
    match request:
        case Send():
            return check_send(request)
        case Cancel():
            return check_cancel(request)
        case Reopen() | Approve() | Dismiss() | Signal() | Claim() | Release() | Finish():
            return check_command(request)
        case TellHooks():
            return check_hooks_told(request)
        case AwaitEnd(timeout_seconds=seconds):
            check_seconds(seconds)
        case StopDaemon(grace_seconds=grace):
            _check_grace(grace)
    return request


def _check_message_id(key: str) -> None:
    """UsageError if it is neither empty nor a message id."""
    if key and not is_id(key, MESSAGE):
        raise UsageError(f"{key!r} is not a message id", hint="m_ and 26 characters, made by the sender")


def check_hooks_told(request: TellHooks) -> TellHooks:
    """The request with what it says in words bounded. Raises UsageError naming what is wrong."""
    _check_message_id(request.id)
    if not 0 < len(request.hooks) <= HOOKS_MAX:
        raise UsageError(f"{len(request.hooks)} hooks cannot be told of", hint=f"1 to {HOOKS_MAX}")
    for hook in request.hooks:
        check_name("a hook", hook.name)
        if hook.on not in ACT_POINTS:
            raise UsageError(f"hook {hook.name}: {hook.on} is about a step", hint=f"one of {', '.join(ACT_POINTS)}")
        if not 0 <= hook.seconds <= SECONDS_MAX:
            raise UsageError(f"hook {hook.name} cannot have taken {hook.seconds:g} s", hint="0 and more")
        if hook.changed not in {(), (CHANGES.get(hook.on),)}:
            raise UsageError(
                f"hook {hook.name} cannot change {', '.join(hook.changed)}", hint="docs/hooks.md: what it may change"
            )
    told = (msgspec.structs.replace(hook, note=clip(hook.note, NOTE_CHARS_MAX), told=request.id) for hook in request.hooks)
    return msgspec.structs.replace(request, hooks=tuple(told))


def check_keep(request: KeepRequest | Doctor, *, admin: bool, require_intent: bool) -> None:
    """A backup has a place; what takes much away needs the right, and a reason where that is the rule.

    Raises Forbidden or UsageError.
    """
    if isinstance(request, Backup) and ("\0" in request.path or not request.path.startswith("/")):
        raise UsageError(f"{clip(request.path, 200)!r} is no absolute path", hint="a directory that does not exist yet")
    if isinstance(request, Prune) and not request.dry_run:
        check_intent(request.intent, "to prune", required=require_intent or request.everyone)
        if request.everyone and not admin:
            raise Forbidden("to prune what others own needs the role admin", hint="prune your own runs")
    if isinstance(request, Import) and request.on_conflict == "overwrite":
        check_intent(request.intent, "to overwrite a run", required=require_intent)


def check_claim(request: Claim | Release | Finish) -> None:
    """Raises UsageError naming what is wrong."""
    least, most = CLAIM_TOKEN_CHARS
    if not least <= len(request.token) <= most:
        raise UsageError(f"a claim's token has {least} to {most} characters", hint="it is what crew claim printed")
    if isinstance(request, Claim) and not 1.0 <= request.seconds <= LEASE_SECONDS_MAX:
        raise UsageError(f"a lease of {request.seconds:g} s is not possible", hint=f"1 to {LEASE_SECONDS_MAX:g}; renew it")
    if isinstance(request, Finish) and request.error and request.result is not None:
        raise UsageError("a task that has failed has no result", hint="give one of the two")
    if isinstance(request, Finish) and len(msgspec.msgpack.encode(request.result)) > INLINE_BYTES_MAX:
        raise UsageError(f"the result has more than {INLINE_BYTES_MAX} bytes", hint="leave it as a file, and name that")
