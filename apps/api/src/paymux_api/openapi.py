"""The OpenAPI 3.1 document, built from the declared operations and nothing else."""

from collections.abc import Sequence

import msgspec

from paymux_api import API_VERSION
from paymux_api.answers import NO_CONTENT
from paymux_api.operation import Charges, Empty, KeyRule, Operation
from paymux_api.problems import PROBLEMS, Problem

Document = dict[str, object]

_REF = "#/components/schemas/{name}"
_ABOUT = (
    "One API in front of every payment gateway. Amounts are integers in minor units. A decline is an answer, not an "
    "error; an outcome that is not known yet is 202. Any 5xx or timeout on a POST that moves money means unknown: read "
    "the payment, or send the same request with the same `Idempotency-Key`."
)
# Bare, or a quoted string of RFC 8941; a quote inside is escaped.
_KEY_PATTERN = r"""^([!#-~]([ -~]*[!-~])?|"([ !#-\[\]-~]|\\["\\])+")$"""
_PROBLEM_CONTENT = {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}}


def build_openapi(operations: Sequence[Operation]) -> Document:
    """Describe operations. The same operations give the same document."""
    structs = [Problem, *_structs(operations)]
    _, components = msgspec.json.schema_components(structs, ref_template=_REF)
    assert all(link in {operation.name for operation in operations} for one in operations for link in one.links)
    paths: dict[str, dict[str, object]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "paymux",
            "version": API_VERSION,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _browser_patterns(dict(sorted(components.items()))),
            "headers": _headers(),
            "securitySchemes": {
                "api_key": {"type": "http", "scheme": "bearer", "description": "`pmx_live_…` or `pmx_test_…`"}
            },
        },
        "x-problems": {
            code: {"status": kind.status, "title": kind.title, "remedy": kind.remedy} for code, kind in PROBLEMS.items()
        },
    }


def render_openapi(document: Document) -> bytes:
    """Render the document for people who read diffs."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _browser_patterns(value: object) -> object:
    """Write the end of a pattern as browsers know it: `$`, which lets no newline follow there."""
    if isinstance(value, dict):
        return {
            name: item.replace(r"\Z", "$") if name == "pattern" and isinstance(item, str) else _browser_patterns(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_browser_patterns(item) for item in value]
    return value


def problem_codes(operation: Operation) -> tuple[str, ...]:
    """Give every code an operation can answer with, in the order of the table."""
    codes = {"internal_error", "overloaded", "validation_failed", "method_not_allowed", *operation.problems}
    codes |= {"malformed_request", "headers_too_large", "request_timeout"}
    if operation.scope is not None:
        codes |= {"authentication_required", "permission_denied", "rate_limited", "raw_card_data_not_allowed"}
    if operation.object_kind is not None:
        codes.add("not_found")
    if operation.reads_body:
        codes |= {"body_too_large"} if operation.raw_body else {"malformed_json", "body_too_large"}
    if operation.key_rule is not KeyRule.NONE:
        codes.add("idempotency_key_invalid")
    if operation.key_rule in (KeyRule.REQUIRED, KeyRule.REQUIRED_TO_CONFIRM):
        codes.add("idempotency_key_required")
    return tuple(code for code in PROBLEMS if code in codes)


def _structs(operations: Sequence[Operation]) -> list[type[msgspec.Struct]]:
    structs: dict[type[msgspec.Struct], None] = {}
    for operation in operations:
        for struct in (operation.request, operation.response, operation.or_response):
            if struct is not None and struct is not Empty:
                structs[struct] = None
    return list(structs)


def _operation(operation: Operation) -> Document:
    described: Document = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": _parameters(operation),
        "responses": _responses(operation),
        "security": [] if operation.scope is None else [{"api_key": [str(operation.scope)]}],
    }
    if operation.description:
        described["description"] = operation.description
    if operation.raw_body:
        event: Document = {"schema": {"type": "object", "description": "The gateway's event, byte for byte."}}
        described["requestBody"] = {"required": True, "content": {"application/json": event}}
    if operation.request is not Empty:
        required = bool(msgspec.json.schema_components([operation.request])[1][operation.request.__name__]["required"])
        content: Document = {"schema": {"$ref": _REF.format(name=operation.request.__name__)}}
        if operation.example is not None:
            content["example"] = operation.example
        described["requestBody"] = {"required": required, "content": {"application/json": content}}
    return described


def _parameters(operation: Operation) -> list[Document]:
    parameters: list[Document] = []
    if operation.object_kind is not None:
        number = "" if operation.parse_id is None else "(_[1-9][0-9]{0,8})?"
        pattern = f"^{operation.object_kind}_[0-7][0-9a-hjkmnp-tv-z]{{25}}{number}$"
        schema = {"type": "string", "pattern": pattern}
        parameters.append({"name": "id", "in": "path", "required": True, "schema": schema})
    parameters += _query_parameters(operation.query)
    if operation.filter_prefix is not None:
        parameters.append({
            "name": f"{operation.filter_prefix}*",
            "in": "query",
            "required": False,
            "description": "The star stands for a key; several are combined.",
            "schema": {"type": "string", "maxLength": 500},
        })  # fmt: skip
    if operation.key_rule is not KeyRule.NONE:
        parameters.append({
            "name": "Idempotency-Key",
            "in": "header",
            "required": operation.key_rule is KeyRule.REQUIRED,
            "description": "One per intention, the same on every retry; bare or quoted."
            + (" Required with `confirm: true`." if operation.charges is Charges.WITH_CONFIRM else ""),
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": _KEY_PATTERN},
        })  # fmt: skip
    parameters.append({
        "name": "Request-Id",
        "in": "header",
        "required": False,
        "description": "Kept if it has 8 to 64 letters, digits, `_` or `-`, else replaced.",
        "schema": {"type": "string"},
    })  # fmt: skip
    return parameters


def _query_parameters(query: type[msgspec.Struct]) -> list[Document]:
    schema = msgspec.json.schema_components([query])[1][query.__name__]
    properties = _browser_patterns(schema["properties"])
    assert isinstance(properties, dict)
    return [
        {"name": name, "in": "query", "required": name in schema["required"], "schema": shape}
        for name, shape in properties.items()
    ]


def _responses(operation: Operation) -> dict[str, Document]:
    responses: dict[str, Document] = {}
    for status, meaning in operation.success.items():
        if status == NO_CONTENT:
            responses[str(status)] = {
                "description": meaning,
                "headers": _header_refs(["Request-Id", "Paymux-Version"]),
                "content": {},
            }
            continue
        if operation.response is not None:
            content: Document = {operation.content_type: {"schema": _schema(operation.response, operation.or_response)}}
        else:
            content = {operation.content_type: {"schema": {"type": "string"}}}
        headers = ["Request-Id", "Paymux-Version"]
        if operation.key_rule is not KeyRule.NONE:
            headers.append("Idempotent-Replayed")
        if status == 201:  # noqa: PLR2004
            headers.append("Location")
        if status == 202:  # noqa: PLR2004
            headers.append("Retry-After")
        answer: Document = {"description": meaning, "headers": _header_refs(headers), "content": content}
        if operation.links:
            answer["links"] = {name: _link(name) for name in operation.links}
        responses[str(status)] = answer
    by_status: dict[int, list[str]] = {}
    for code in problem_codes(operation):
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    for status, codes in by_status.items():
        problem = _problem_response(status, codes)
        also = responses.get(str(status))
        responses[str(status)] = problem if also is None else _either(also, problem)
    return responses


def _schema(response: type[msgspec.Struct], or_response: type[msgspec.Struct] | None) -> Document:
    one: Document = {"$ref": _REF.format(name=response.__name__)}
    return one if or_response is None else {"anyOf": [one, {"$ref": _REF.format(name=or_response.__name__)}]}


def _either(answer: Document, problem: Document) -> Document:
    """Describe a status that comes with an answer of its own or with a problem."""
    merged = {name: {**_part(answer, name), **_part(problem, name)} for name in ("headers", "content")}
    return {**answer, **merged}


def _part(described: Document, name: str) -> Document:
    part = described[name]
    assert isinstance(part, dict)
    return part


def _link(name: str) -> Document:
    return {"operationId": name, "parameters": {"id": "$response.body#/id"}}


def _problem_response(status: int, codes: Sequence[str]) -> Document:
    headers = ["Request-Id", "Paymux-Version"]
    headers += {401: ["WWW-Authenticate"], 405: ["Allow"], 429: ["Retry-After"], 503: ["Retry-After"]}.get(status, [])
    return {
        "description": ", ".join(f"`{code}`" for code in codes),
        "headers": _header_refs(headers),
        "content": _PROBLEM_CONTENT,
    }


def _header_refs(names: Sequence[str]) -> Document:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _headers() -> Document:
    text = {"type": "string"}
    seconds = {"type": "integer", "minimum": 0}
    return {
        "Request-Id": {"description": "Names this request in our log.", "required": True, "schema": text},
        "Paymux-Version": {"description": "The version that answered.", "required": True, "schema": text},
        "Idempotent-Replayed": {"description": "`true`: the key was used before.", "schema": text},
        "Location": {"description": "Where the object can be read.", "schema": text},
        "Retry-After": {"description": "Seconds to wait.", "schema": seconds},
        "WWW-Authenticate": {"description": "`Bearer`", "schema": text},
        "Allow": {"description": "The methods this path takes.", "schema": text},
    }
