"""Follows one job over server-sent events and prints its durable events, one JSON object a line.

usage: sse_client.py HOST:PORT JOB_ID
"""

import base64
import sys

import httpx
from httpx_sse import connect_sse


def main(address: str, job: str) -> None:
    previews = 0
    with httpx.Client(timeout=60) as client:
        with connect_sse(client, "GET", f"http://{address}/v1/jobs/{job}/stream") as source:
            for event in source.iter_sse():
                if event.event == "preview":
                    assert base64.b64decode(event.data)[:4] == b"SD\x01\x01", event.data[:48]
                    previews += 1
                elif event.id and "seq" in event.json():
                    assert event.json()["type"] == event.event, event
                    print(event.data, flush=True)
    print(f"{previews} previews", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
