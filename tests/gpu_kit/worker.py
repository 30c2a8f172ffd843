"""A worker on a device, asked over HTTP."""

import json
import subprocess
import time
import urllib.error
import urllib.request

READY_SECONDS_MAX = 300


class NotStarted(Exception):
    """What the worker said on its way out."""


class Worker:
    """A worker that keeps nothing, on a free port, ended with the block."""

    def __init__(self, binary, *flags):
        self.began = time.monotonic()
        command = [binary, "serve", "--ephemeral", "--listen", "127.0.0.1:0", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if " listening on " not in line:
            raise NotStarted(last_words(self.process.communicate()[1]))
        self.address = line.split(" listening on ")[1].strip()

    def __enter__(self):
        while time.monotonic() - self.began < READY_SECONDS_MAX:
            try:
                self.devices = self.call("/ready")["devices"]
                self.ready_seconds = time.monotonic() - self.began
                return self
            except RuntimeError as error:
                if '"loading"' not in str(error):
                    raise
                time.sleep(0.05)
        raise RuntimeError(f"the worker is not ready after {READY_SECONDS_MAX} s")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()

    def call(self, path, body=None, raw=False):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()) from error
        return content if raw else json.loads(content)

    def draw(self, job):
        """The timings of a job and its pictures, as PNG files."""
        view = self.call("/v1/jobs", {"preview": {"mode": "none"}, **job})
        while view["state"] in ("queued", "running"):
            time.sleep(0.005)
            view = self.call(f"/v1/jobs/{view['id']}")
        if view["state"] != "succeeded":
            raise RuntimeError(view["error"]["message"])
        return view["timings"], [self.call(image["url"], raw=True) for image in view["images"]]


def last_words(text):
    """The sentence with which a worker ends that cannot start."""
    return next((line for line in text.splitlines() if line.startswith("Error: ")), text.strip()[-1000:])
