"""`/openapi.json` and `/docs`: the contract, and a page that shows it without asking any other host."""

from importlib.resources import files

from paymux_api.operation import Call, Operation
from paymux_flows.commands import Reply

# The page loads from its own host only, and nobody frames it.
_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
_PAGE = (
    ("/docs", "docs.html", "text/html; charset=utf-8"),
    ("/docs/docs.css", "docs.css", "text/css; charset=utf-8"),
    ("/docs/docs.js", "docs.js", "text/javascript; charset=utf-8"),
)


def document_operations(openapi: bytes) -> tuple[Operation, ...]:
    """Declare the document and the files of the page; none of them is part of the contract itself."""
    static = files("paymux_api") / "static"
    served = [("/openapi.json", openapi, "application/json")]
    served += [(path, (static / name).read_bytes(), content_type) for path, name, content_type in _PAGE]
    return tuple(_constant(path, content, content_type) for path, content, content_type in served)


def _constant(path: str, content: bytes, content_type: str) -> Operation:
    reply = Reply(200, content)

    async def constant(_call: Call) -> Reply:
        return reply

    return Operation(
        method="GET",
        path=path,
        name=f"read_{path.strip('/').replace('/', '_').replace('.', '_')}",
        summary=f"Read {path}",
        tag="documents",
        handler=constant,
        scope=None,
        content_type=content_type,
        headers=_HEADERS,
        success={200: "The file."},
    )
