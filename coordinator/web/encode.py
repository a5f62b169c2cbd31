"""Protobuf messages as plain dictionaries, fast enough to run on the coordinator's own loop.

The result equals `google.protobuf.json_format.MessageToDict` with `preserving_proto_field_name` and
`always_print_fields_with_no_presence` (64-bit integers are strings there: a token does not fit JavaScript's doubles).
That function walks descriptors for every message; here each message type is compiled once into a flat list of fields.
A test holds the two equal. Covers what floor.proto uses and refuses other field types when compiling, not while
serving.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

Json = dict[str, Any]
"""One JSON object."""

_LONG = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
_PLAIN = (
    FieldDescriptor.CPPTYPE_STRING,
    FieldDescriptor.CPPTYPE_BOOL,
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_UINT32,
)


def to_json(message: Message, *, without: str = "") -> Json:
    """`message` as ProtoJSON with snake_case names, defaults included, enums by name; the field `without` left out."""
    return _converter(message.DESCRIPTOR, without)(message)


@cache
def _converter(descriptor: Descriptor, without: str = "") -> Callable[[Any], Json]:
    fields = [
        (f.name, f.is_repeated, _value_converter(f), _has_presence(f)) for f in descriptor.fields if f.name != without
    ]

    def convert(message: Any) -> Json:
        found: Json = {}
        for name, repeated, value_of, presence in fields:
            if presence and not message.HasField(name):
                continue
            value = getattr(message, name)
            if repeated:
                found[name] = list(value) if value_of is None else [value_of(item) for item in value]
            else:
                found[name] = value if value_of is None else value_of(value)
        return found

    return convert


def _has_presence(field: FieldDescriptor) -> bool:
    return bool(field.has_presence) and not field.is_repeated


def _value_converter(field: FieldDescriptor) -> Callable[[Any], Any] | None:
    """How one value of the field becomes JSON; None where it already is."""
    if field.cpp_type in _LONG:
        return str
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM and field.enum_type is not None:
        names = {number: value.name for number, value in field.enum_type.values_by_number.items()}
        return lambda number: names.get(number, number)
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE and field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            raise TypeError(f"field {field.full_name}: maps are not converted; add them to encode.py")
        return _converter(field.message_type)
    if field.cpp_type in _PLAIN and field.type != FieldDescriptor.TYPE_BYTES:
        return None
    raise TypeError(f"field {field.full_name}: type {field.type} is not converted; add it to encode.py")
