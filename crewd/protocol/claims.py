"""Claims at the door: what a request to claim, release or finish a task must be."""

from __future__ import annotations

import msgspec

from crewd.protocol.errors import UsageError
from crewd.protocol.limits import CLAIM_TOKEN_CHARS, INLINE_BYTES_MAX, LEASE_SECONDS_MAX
from crewd.protocol.requests import Claim, Finish, Release


def check_claim(request: Claim | Release | Finish) -> None:
    """Raises UsageError naming what is wrong."""
    least, most = CLAIM_TOKEN_CHARS
    if not least <= len(request.token) <= most:
        raise UsageError(f"a claim's token has {least} to {most} characters", hint="made at random by whoever claims")
    if isinstance(request, Claim) and not 1.0 <= request.seconds <= LEASE_SECONDS_MAX:
        raise UsageError(f"a lease of {request.seconds:g} s is not possible", hint=f"1 to {LEASE_SECONDS_MAX:g}; renew it")
    if isinstance(request, Finish) and len(msgspec.msgpack.encode(request.result)) > INLINE_BYTES_MAX:
        raise UsageError(f"the result has more than {INLINE_BYTES_MAX} bytes", hint="leave it as a file, and name that")
