"""From fields and query parameters to typed structs; what does not fit is named by its path."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from urllib.parse import parse_qsl

import msgspec
import msgspec.inspect
from msgspec import Struct

from paymux_core.card_numbers import contains_card_number
from paymux_core.errors import ValidationFailed

_PLACE = re.compile(r" - at (?:`key` in )?`\$(?:\.(?P<place>[^`]*))?`$")
_NAMED = re.compile(r"^Object (?:missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL)
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)
_PARAM_CHARACTERS_MAX = 100
_PARAMETERS_MAX = 100


def decode_fields(fields: object, shape: type[msgspec.Struct]) -> msgspec.Struct:
    """Decode a body strictly. Raises: ValidationFailed."""
    try:
        return msgspec.convert(fields, shape)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from None


class Query(Struct, frozen=True, gc=False):
    """The parameters as a struct, those under the prefix by their key, and all text, to look for card numbers."""

    parameters: msgspec.Struct
    filters: Mapping[str, str]
    text: str


def decode_query(query_string: bytes, shape: type[msgspec.Struct], *, filter_prefix: str | None) -> Query:
    """Decode a query string; parameters that start with the prefix are collected. Raises: ValidationFailed."""
    pairs = _query_pairs(query_string) if query_string else []
    parameters: dict[str, str] = {}
    filters: dict[str, str] = {}
    for name, value in pairs:
        if filter_prefix is not None and name.startswith(filter_prefix):
            filters[name.removeprefix(filter_prefix)] = value
        else:
            parameters[name] = value
    if len(parameters) + len(filters) != len(pairs):
        raise ValidationFailed("Send each query parameter once.")
    try:
        decoded = msgspec.convert(_typed(parameters, shape), shape)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from None
    return Query(parameters=decoded, filters=filters, text="|".join(word for pair in pairs for word in pair))


def _typed(parameters: Mapping[str, str], shape: type[msgspec.Struct]) -> dict[str, object]:
    """Read numbers and booleans where the shape wants them, in one spelling each: 1e1, True and 05 stay text."""
    readers = _readers(shape)
    return {name: readers.get(name, str)(value) for name, value in parameters.items()}


@cache
def _readers(shape: type[msgspec.Struct]) -> Mapping[str, Callable[[str], object]]:
    described = msgspec.inspect.type_info(shape)
    assert isinstance(described, msgspec.inspect.StructType)
    found: dict[str, Callable[[str], object]] = {}
    for field in described.fields:
        if isinstance(field.type, msgspec.inspect.IntType):
            found[field.encode_name] = lambda text: int(text) if _INTEGER.fullmatch(text) else text
        elif isinstance(field.type, msgspec.inspect.BoolType):
            found[field.encode_name] = lambda text: {"true": True, "false": False}.get(text, text)
    return found


def _query_pairs(query_string: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_PARAMETERS_MAX,
        )
    except ValueError:
        raise ValidationFailed("The query string is not valid.") from None
    for name, value in pairs:
        if "\0" in name or "\0" in value:
            raise ValidationFailed("NUL is not allowed in a query parameter.")
    return pairs


def _refusal(message: str) -> ValidationFailed:
    """Turn a decoder's sentence into ours; what the client sent is never repeated, its names are."""
    place = _PLACE.search(message)
    what = message[: place.start()] if place else message
    path = (place["place"] if place else None) or ""
    named = _NAMED.match(what)
    if named:
        path = f"{path}.{named['name']}" if path else named["name"]
        what = "This field is required." if "missing" in what else "This field is not known here."
    elif what.startswith("Invalid enum value"):
        what = "This value is not one of those allowed."
    else:
        what = what.replace("`", "") + "."
    return ValidationFailed(what, param=_param(path.replace("[...]", "")))


def _param(path: str) -> str | None:
    """Give a name that can be repeated: not a flood, not a card number."""
    if not path or contains_card_number(path):
        return None
    return path[:_PARAM_CHARACTERS_MAX]
