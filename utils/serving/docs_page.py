"""The page at /docs: the OpenAPI document as plain HTML, without scripts and other hosts."""

import re
from collections.abc import Mapping
from html import escape
from typing import Any

STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 50rem; padding: 0 1rem;
  color-scheme: light dark; }
code { font-family: ui-monospace, monospace; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
"""


def docs_page(document: Mapping[str, Any]) -> str:
    """Returns the page of an OpenAPI document."""
    info = document["info"]
    operations = (
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{_html(info['description'])}</p>"
        '<p>The same as a document for programs: <a href="/openapi.json">/openapi.json</a>.</p>'
        f"{''.join(operations)}</html>\n"
    )


def _html(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    lists = {
        "Parameters": [
            f"<code>{escape(each['name'])}</code> ({each['in']}{_range(each['schema'])})"
            for each in operation.get("parameters", ())
        ],
        "Body": [
            f"<code>{escape(kind)}</code>"
            for kind in operation.get("requestBody", {}).get("content", ())
        ],
        "Answers": [
            f"<code>{code}</code> {escape(answer['description'])}"
            for code, answer in operation["responses"].items()
            if code != "422"  # the service answers 400 instead
        ],
    }
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
        f"<p>{_html(operation['summary'])}. {_html(operation.get('description', ''))}</p>"
        + "".join(
            f"<p>{title}:</p><ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"
            for title, items in lists.items()
            if items
        )
    )


def _range(schema: Mapping[str, Any]) -> str:
    """Describes the limits of a number, which may be optional."""
    for kind in schema.get("anyOf", [schema]):
        if "minimum" in kind:
            return f", {kind['type']} from {kind['minimum']:g} to {kind['maximum']:g}"
    return ""
