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
        view = self.ended(self.submit(job))
        return view["timings"], [self.call(image["url"], raw=True) for image in view["images"]]

    def wait(self, job):
        """The timings of a job that nobody watches."""
        return self.ended(self.submit(job))["timings"]

    def watch(self, job):
        """The timings of a job of which every preview is read, and when the first came."""
        began = time.perf_counter()
        name = self.call("/v1/jobs", job)["id"]
        first = None
        for event in self.events(name, "rgb"):
            if event == "preview" and first is None:
                first = 1000 * (time.perf_counter() - began)
        return {**self.call(f"/v1/jobs/{name}")["timings"], "first_preview_ms": first}

    def cancel(self, job, after):
        """Milliseconds from a cancel, some seconds after the start, to the end."""
        name = self.submit(job)
        for event in self.events(name, "none"):
            if event == "started":
                time.sleep(after)
                began = time.perf_counter()
                self.call(f"/v1/jobs/{name}/cancel", {})
        return 1000 * (time.perf_counter() - began)

    def submit(self, job):
        return self.call("/v1/jobs", {"preview": {"mode": "none"}, **job})["id"]

    def ended(self, name):
        """The job once it has ended, and well."""
        for _ in self.events(name, "none"):
            pass
        view = self.call(f"/v1/jobs/{name}")
        if view["state"] != "succeeded":
            raise RuntimeError(view["error"]["message"])
        return view

    def events(self, name, preview):
        """The names of a job's events as they come."""
        with urllib.request.urlopen(f"{self.address}/v1/jobs/{name}/stream?preview={preview}") as stream:
            for line in stream:
                if line.startswith(b"event:"):
                    yield line.split(b":", 1)[1].strip().decode()


def last_words(text):
    """The sentence with which a worker ends that cannot start."""
    return next((line for line in text.splitlines() if line.startswith("Error: ")), text.strip()[-1000:])
