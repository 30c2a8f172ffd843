"""Follows one job over the WebSocket and prints its durable events, one JSON object a line.

usage: websocket_client.py HOST:PORT JOB_ID
"""

import json
import sys

from websockets.sync.client import connect

TERMINAL = {"succeeded", "failed", "canceled"}


def main(address: str, job: str) -> None:
    with connect(f"ws://{address}/v1/ws", subprotocols=["sd.v1"], open_timeout=30) as socket:
        socket.send(json.dumps({"type": "hello", "client": "websocket_client.py"}))
        welcome = json.loads(socket.recv(timeout=30))
        assert welcome["type"] == "welcome" and welcome["protocol"] == 1, welcome
        socket.send(json.dumps({"type": "attach", "job": job, "after": 0}))
        previews = 0
        while True:
            message = socket.recv(timeout=60)
            if isinstance(message, bytes):
                assert message[:4] == b"SD\x01\x01", message[:32]
                previews += 1
                continue
            frame = json.loads(message)
            assert frame["type"] != "error", frame
            if "seq" in frame:
                print(json.dumps(frame), flush=True)
            if frame["type"] in TERMINAL:
                print(f"{previews} previews", file=sys.stderr)
                return


if __name__ == "__main__":
    main(*sys.argv[1:])
