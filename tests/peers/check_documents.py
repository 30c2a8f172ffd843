"""Holds the documents of a worker against what their specifications say of such documents.

usage: check_documents.py HOST:PORT FOLDER_WITH_NODE_MODULES
"""

import json
import sys
from pathlib import Path

import httpx
from jsonschema.validators import validator_for
from openapi_spec_validator import validate


def main(address: str, node: str) -> None:
    with httpx.Client(base_url=f"http://{address}", timeout=60) as client:
        openapi, asyncapi = (client.get(path).raise_for_status().json() for path in ("/openapi.json", "/asyncapi.json"))
    validate(openapi)
    version = asyncapi["asyncapi"]
    schema = json.loads((Path(node) / f"node_modules/@asyncapi/specs/schemas/{version}.json").read_text())
    validator_for(schema)(schema).validate(asyncapi)
    print(len(openapi["paths"]), "paths,", len(asyncapi["components"]["messages"]), "messages", file=sys.stderr)
    check_goldens(asyncapi, Path(__file__).parents[2] / "protocol/tests/goldens")


def check_goldens(asyncapi: dict, folder: Path) -> None:
    """Every frame that the protocol's goldens hold is one that the document describes."""
    messages = asyncapi["components"]["messages"]
    files = sorted(folder.glob("*.json"))
    assert len(files) > 20, files
    for file in files:
        frame = json.loads(file.read_text())
        schema = {**messages[frame["type"]]["payload"], "components": asyncapi["components"]}
        validator_for(schema)(schema).validate(frame)


if __name__ == "__main__":
    main(*sys.argv[1:])
