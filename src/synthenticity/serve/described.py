"""What /openapi.json says beyond what FastAPI finds out: bodies, problems, the key.

A test has schemathesis look for an answer that does not stand here.
"""

from typing import Any

from fastapi import FastAPI

from synthenticity.serve.answers import ProblemAnswer
from synthenticity.serve.limits import Limits
from synthenticity.serve.problems import PROBLEM_TYPE, TITLES

Described = dict[str, Any]
SECURITY = "key"
SCORE_PROBLEMS = (400, 408, 413, 415, 422, 429, 500, 503, 504)
RETRIED = {429, 503}
ABOUT = """How much of a text a machine wrote, and which words.

Every error is a problem (RFC 9457). Addresses that are not here are 404, other methods 405. Every
answer bears `X-Request-ID`: the one of the request, if that had one of 1 to 64 letters, digits,
dots, dashes and underscores. Only what is no HTTP at all gets a plain 400, with neither.
"""


def problems(*statuses: int) -> dict[int | str, Described]:
    """Return descriptions of problems, by status."""
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> Described:
    schema = {"$ref": "#/components/schemas/Problem"}
    described: Described = {
        "description": TITLES[status],
        "content": {PROBLEM_TYPE: {"schema": schema}},
    }
    if status in RETRIED:
        described["headers"] = {
            "Retry-After": {
                "description": "Seconds after which to try again.",
                "schema": {"type": "integer", "minimum": 1},
            }
        }
    return described


def request_body(limits: Limits) -> Described:
    """Return the description of a body of /v1/score."""
    text = {"type": "string", "maxLength": limits.max_text_characters}
    schema = {
        "type": "object",
        "title": "Texts to be scored",
        "description": f"All texts together may have {limits.max_characters} characters, and the "
        f"body {limits.max_body_bytes} bytes.",
        "properties": {
            "texts": {"type": "array", "items": text, "minItems": 1, "maxItems": limits.max_texts},
            "tokens": {
                "type": "boolean",
                "default": False,
                "description": "Also give tokens and spans with their probabilities.",
            },
            "sentences": {
                "type": "boolean",
                "default": False,
                "description": "Also give sentences with their mean probabilities.",
            },
        },
        "required": ["texts"],
        "additionalProperties": False,
        "example": {"texts": ["To be, or not to be, that is the question."]},
    }
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe(api: FastAPI, *, keyed: bool, named: bool) -> None:
    """Complete the description of an application whose addresses are all there.

    Args:
        api: the application.
        keyed: whether it asks for a key.
        named: whether it answers only to some names of its host.

    """
    description = api.openapi()
    components = description.setdefault("components", {})
    schema = ProblemAnswer.model_json_schema()
    components.setdefault("schemas", {})["Problem"] = {**schema, "title": "Problem"}
    operations = [
        (path, operation)
        for path, methods in description["paths"].items()
        for operation in methods.values()
    ]
    if named:
        for _, operation in operations:
            operation["responses"].setdefault("400", _problem(400))
    if keyed:
        components["securitySchemes"] = {SECURITY: {"type": "http", "scheme": "bearer"}}
        for path, operation in operations:
            if path.startswith("/v1/"):
                operation["security"] = [{SECURITY: []}]
                operation["responses"]["401"] = _problem(401)
