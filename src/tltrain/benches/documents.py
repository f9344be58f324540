"""Tool documents as the ReAct test sets print them: name, description, parameters, one after the other."""

import json
from typing import Any

from tltrain.types import Tool


def read_documents(prompt: str) -> tuple[Tool, ...]:
    """The tools that a system prompt lists as its first JSON array.

    Raises:
        ValueError: there is no array, or no JSON.
        LookupError: a document lacks a field.
        TypeError: a field is of another type.
    """
    documents = json.JSONDecoder().raw_decode(prompt, prompt.index("["))[0]
    return tuple(read_document(document) for document in documents)


def read_document(document: Any) -> Tool:
    """One tool.

    Raises:
        LookupError: the document lacks a field.
        TypeError: it, or a field, is of another type.
    """
    name, description, parameters = document["name"], document["description"], document["parameters"]
    if not (isinstance(name, str) and isinstance(description, str) and isinstance(parameters, dict)):
        raise TypeError("a tool has text as name and description, and an object as parameters")
    return Tool(name=name, description=description, parameters=parameters)
