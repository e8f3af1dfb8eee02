"""Frames in, values out, and back: one codec per direction of each socket.

A message is four frames: `CREWD` + version byte, kind, id, MessagePack body. Magic and version stand in every message
because sockets reconnect behind our back. Raises `PeerError` and its kinds, never anything else, on any bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from crewd.model.errors import Oversized, PeerError, UnknownKind, UnsupportedVersion, UsageError, unencodable
from crewd.model.events import with_foreign
from crewd.model.limits import FRAME_BYTES_MAX
from crewd.protocol.free_form import fault_in
from crewd.protocol.replies import REPLIES, Reply
from crewd.protocol.reports import FROM_WORKER, TO_WORKER, FromWorker, ToWorker
from crewd.protocol.requests import REQUESTS, Request

VERSION = 1
MAGIC = b"CREWD"
HEADER = MAGIC + bytes([VERSION])
_FRAMES = 4
_ID_BYTES_MAX = 64
_NOT_FINITE = (b"\xca\x7f", b"\xca\xff", b"\xcb\x7f", b"\xcb\xff")
"""How a float of MessagePack begins that is NaN or infinite, or very large."""
T = TypeVar("T")


class Parcel(NamedTuple, Generic[T]):
    """A decoded message: its id, its kind and its body."""

    id: str
    kind: str
    body: T


class _Decoders(dict[str, "msgspec.msgpack.Decoder[T]"], Generic[T]):
    """A decoder for each kind, made when it is needed: all together take longer than a short command."""

    def __init__(self, kinds: Mapping[str, type[T]]) -> None:
        super().__init__()
        self._kinds = kinds

    def __missing__(self, kind: str) -> msgspec.msgpack.Decoder[T]:
        self[kind] = made = msgspec.msgpack.Decoder(self._kinds[kind])
        return made


class Codec(Generic[T]):
    """Translates one direction of one socket. `mend` is tried on a body that cannot be read: a newer peer may have sent it.

    With `as_json`, no body may hold what JSON cannot say, such as NaN or a key that is no text: what comes in is kept as JSON.
    """

    def __init__(
        self, kinds: Mapping[str, type[T]], mend: Callable[[Any], Any] | None = None, *, as_json: bool = False
    ) -> None:
        self._mend = mend
        self._as_json = as_json
        self._bodies = kinds
        self._decoders = _Decoders(kinds)
        self._kinds = {body: kind for kind, body in kinds.items()}
        self._encoder = msgspec.msgpack.Encoder()

    def prepare(self) -> None:
        """Make every decoder now, for those who are forked from here."""
        for kind in self._bodies:
            self._decoders[kind]

    def encode(self, message_id: str, body: T) -> list[bytes]:
        """The four frames of `body`.

        Raises Oversized if the body does not fit one frame, UsageError if it cannot be written.
        """
        kind = self._kinds[type(body)]
        try:
            data = self._encoder.encode(body)
        except UnicodeEncodeError as error:
            raise unencodable(error) from None
        except (OverflowError, TypeError) as error:
            raise UsageError(f"this cannot be sent: {error}", hint="text, numbers of 64 bits, lists and dicts can") from None
        if self._as_json and not is_finite(data):
            raise UsageError("NaN and infinite numbers cannot be sent", hint="give a finite number, or None")
        try:
            fault = fault_in(body) if self._as_json else ""
        except AttributeError as error:
            why = _misfit(body) or str(error)
            raise UsageError(f"this cannot be sent: {why}", hint="give the type that its field has") from None
        if fault:
            raise UsageError(f"this cannot be sent, for JSON does not have it: {fault}", hint="give each key as text")
        if len(data) > FRAME_BYTES_MAX:
            raise Oversized(
                f"{kind} is {len(data)} bytes long", hint=f"a frame holds {FRAME_BYTES_MAX}; send large data as a file"
            )
        return [HEADER, kind.encode(), message_id.encode(), data]

    def decode(self, frames: Sequence[bytes]) -> Parcel[T]:
        """The message in `frames` (without the identity frame)."""
        if len(frames) != _FRAMES:
            raise PeerError(f"a message has {_FRAMES} frames, not {len(frames)}")
        header, kind_bytes, id_bytes, data = frames
        if not header.startswith(MAGIC) or len(header) != len(HEADER):
            raise PeerError("the first frame is not crewd's header")
        if header[-1] != VERSION:
            raise UnsupportedVersion(
                f"protocol version {header[-1]} is not read here", hint=f"this side reads version {VERSION}"
            )
        if max(map(len, frames)) > FRAME_BYTES_MAX:
            raise Oversized("a frame is too large", hint=f"a frame holds {FRAME_BYTES_MAX} bytes")
        try:
            kind, message_id = kind_bytes.decode("ascii"), id_bytes.decode("ascii")
        except UnicodeDecodeError:
            raise PeerError("kind and id are ASCII") from None
        if len(message_id) > _ID_BYTES_MAX or not message_id.isprintable():
            raise PeerError("an id is up to 64 printable characters")
        if kind not in self._bodies:
            raise UnknownKind(f"kind {kind[:40]!r} is not known here", hint=f"known: {', '.join(self._bodies)}")
        decoder = self._decoders[kind]
        try:
            if self._as_json and not is_finite(data):
                raise PeerError(f"the body of {kind} holds a number that is not finite")
            body = self._body(decoder, data)
            if self._as_json and (fault := fault_in(body)):
                raise PeerError(f"the body of {kind} holds what JSON does not have: {fault}")
            return Parcel(message_id, kind, body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PeerError(f"the body of {kind} is wrong: {error}") from None

    def _body(self, decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
        try:
            return decoder.decode(data)
        except msgspec.ValidationError:
            if self._mend is None:
                raise
            body: T = msgspec.convert(self._mend(msgspec.msgpack.decode(data)), decoder.type)
            return body


def _misfit(body: object) -> str:
    """Which field of a body has another type than it must have, in words; empty if that cannot be said."""
    try:
        msgspec.convert(msgspec.to_builtins(body), type(body))
    except (msgspec.ValidationError, TypeError) as error:
        return str(error).replace("`$.", "`")
    return ""


def is_finite(data: bytes) -> bool:
    """Whether all floats in a MessagePack document are finite."""
    return not any(begin in data for begin in _NOT_FINITE) or _all_finite(msgspec.msgpack.decode(data))


def _all_finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(_all_finite(key) and _all_finite(each) for key, each in value.items())
    return all(map(_all_finite, value)) if isinstance(value, list) else True


def id_of(frames: Sequence[bytes]) -> str:
    """The message id in frames that could not be decoded, so that the error can name it; empty if there is none."""
    if len(frames) == _FRAMES and len(frames[2]) <= _ID_BYTES_MAX and frames[2].isascii():
        return frames[2].decode("ascii")
    return ""


requests: Codec[Request] = Codec(REQUESTS, as_json=True)
replies: Codec[Reply] = Codec(REPLIES, with_foreign)
from_worker: Codec[FromWorker] = Codec(FROM_WORKER, as_json=True)
to_worker: Codec[ToWorker] = Codec(TO_WORKER)
