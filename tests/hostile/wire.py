"""What an attacker says on crewd's sockets: bodies made from the types of the wire, with values of the attacker's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import msgspec
import msgspec.inspect as mi
import zmq

from crewd.protocol import codec
from crewd.protocol import replies as rl

Place = tuple[str | int, ...]


class Speaker:
    """A socket that says any bytes, and hears what is answered."""

    def __init__(self, endpoint: str, identity: bytes = b"") -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        if identity:
            self.socket.setsockopt(zmq.IDENTITY, identity)
        self.socket.connect(endpoint)
        self._said: dict[str, list[bytes]] = {}

    def say(self, kind: str, key: str, body: object) -> None:
        """One message with whatever MessagePack can hold."""
        self._said[key] = [codec.HEADER, kind.encode(), key.encode(), msgspec.msgpack.encode(body)]
        self.socket.send_multipart(self._said[key])

    def hear(self) -> list[bytes]:
        """The next message."""
        assert self.socket.poll(120_000), "no answer"
        return self.socket.recv_multipart()

    def replies(self, key: str) -> rl.Reply:
        """The reply to one request; what else comes is left out. A crewd that begins may ask for the request again."""
        while True:
            parcel = codec.replies.decode(self.hear())
            if parcel.id != key:
                continue
            if not (isinstance(parcel.body, rl.ErrorReply) and parcel.body.error.values.get("say") == "again"):
                return parcel.body
            self.socket.send_multipart(self._said[key])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close(0)
        self.context.term()


def least(kind: mi.Type, given: dict[str, Any]) -> Any:
    """A value of a type with nothing but what it must have; fields of these names get these values."""
    match kind:
        case mi.StructType(fields=fields, tag=tag, tag_field=tag_field):
            body = {each.encode_name: given.get(each.encode_name, least(each.type, given)) for each in fields if each.required}
            return body if tag_field is None else {tag_field: tag, **body}
        case mi.UnionType(types=types):
            return least(types[0], given)
        case mi.VarTupleType() | mi.ListType():
            return []
        case mi.DictType():
            return {}
        case mi.IntType() | mi.FloatType():
            return 1
        case mi.BytesType():
            return b""
        case mi.LiteralType(values):
            return values[0]
        case mi.EnumType(cls):
            return next(iter(cls)).value
        case _:
            return "x"


def numbers(kind: mi.Type, at: Place = ()) -> Iterator[tuple[Place, mi.Type]]:
    """Where a value of a type may hold numbers: the place of each, through structs, lists and dicts."""
    match kind:
        case mi.IntType() | mi.FloatType() | mi.AnyType():
            yield at, kind
        case mi.StructType(fields=fields):
            for each in fields:
                yield from numbers(each.type, (*at, each.encode_name))
        case mi.UnionType(types=types):
            for one in types:
                yield from numbers(one, at)
        case mi.VarTupleType(item_type=item) | mi.ListType(item_type=item):
            yield from numbers(item, (*at, 0))
        case mi.DictType(value_type=value):
            yield from numbers(value, (*at, "key"))


def put(body: Any, place: Place, value: object, kind: mi.Type, given: dict[str, Any]) -> Any:
    """The body with the value at a place; what is on the way and not there yet is made."""
    if not place:
        return value
    first, rest = place[0], place[1:]
    match kind:
        case mi.UnionType(types=types):
            fitting = next(each for each in types if not isinstance(each, mi.NoneType) and _holds(each, place))
            return put(body, place, value, fitting, given)
        case mi.StructType(fields=fields):
            of = next(each.type for each in fields if each.encode_name == first)
            body = dict(body) if isinstance(body, dict) else least(kind, given)
            body[first] = put(body.get(first), rest, value, of, given)
            return body
        case mi.VarTupleType(item_type=item) | mi.ListType(item_type=item):
            return [put(least(item, given), rest, value, item, given)]
        case mi.DictType(value_type=of):
            return {"key": put(least(of, given), rest, value, of, given)}
    raise AssertionError(kind)


def _holds(kind: mi.Type, place: Place) -> bool:
    return any(found == place for found, _ in numbers(kind))
