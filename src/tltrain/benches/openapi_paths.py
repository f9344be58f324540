"""Operations of an OpenAPI document as tools, for documents that come with a test set."""

from collections.abc import Iterator, Mapping
from typing import Any

from tltrain.types import Json, Tool

_METHODS = ("get", "post", "put", "patch", "delete")
_MAX_REFERENCES = 16


def read_operations(document: Mapping[str, Any]) -> Iterator[Tool]:
    """Every operation, in the order of the document.

    A tool is called as the operation's `operationId` says, else by its path and method: `/weather/{id}` and get give
    `weather_id_get`. A path that stands inside another one, as badly indented documents have it, counts like any other.
    Parameters are those of path and query, and the properties of a JSON body.
    """
    paths = document.get("paths")
    for path, item in _walk(paths if isinstance(paths, Mapping) else {}):
        for method in _METHODS:
            if isinstance(item.get(method), Mapping):
                yield _read_operation(path, method, item, document)


def _walk(paths: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path, item in paths.items():
        if path.startswith("/") and isinstance(item, Mapping):
            yield path, item
            yield from _walk(item)


def _read_operation(path: str, method: str, item: Mapping[str, Any], document: Mapping[str, Any]) -> Tool:
    operation = item[method]
    properties: dict[str, Json] = {}
    required: list[Json] = []
    for parameter in (*_list(item.get("parameters")), *_list(operation.get("parameters"))):
        parameter = _resolve(parameter, document)
        name = parameter.get("name")
        if not isinstance(name, str) or parameter.get("in") not in ("path", "query"):
            continue
        schema = _resolve(parameter.get("schema", {}), document)
        described = {"description": parameter["description"]} if parameter.get("description") else {}
        properties[name] = {**schema, **described}
        if parameter.get("required") and name not in required:
            required.append(name)
    body = _body_schema(operation, document)
    properties |= body.get("properties", {})
    required += [name for name in _list(body.get("required")) if name not in required]
    return Tool(
        name=operation.get("operationId") or _name(path, method),
        description=operation.get("summary") or operation.get("description") or "",
        parameters={"type": "object", "properties": properties, "required": required},
    )


def _name(path: str, method: str) -> str:
    parts = [part.strip("{}") for part in path.split("/") if part]
    return "_".join([*parts, method])


def _body_schema(operation: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    body = _resolve(operation.get("requestBody", {}), document)
    content = body.get("content")
    media = content.get("application/json") if isinstance(content, Mapping) else None
    return _resolve(media.get("schema", {}), document) if isinstance(media, Mapping) else {}


def _resolve(value: Any, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a local `$ref` stands for; empty for anything that is no object."""
    for _ in range(_MAX_REFERENCES):  # a chain of references may be a circle
        if not isinstance(value, Mapping):
            return {}
        reference = value.get("$ref")
        if not isinstance(reference, str):
            return value
        value = document
        for part in reference.removeprefix("#/").split("/"):
            value = value.get(part) if isinstance(value, Mapping) else None
    return {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
