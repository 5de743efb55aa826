"""What the tests of `lever serve` share: a server to start and stop, and clients of it.

SPDX-License-Identifier: MIT
"""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

from cli import LEVER, SANITIZED, WORK

DOG = [{"role": "user", "content": "Tell me a story about a dog."}]
SLOW = ("--mem", "40MiB", "--max-body", "64KiB", "--no-pin", "--flash-limit", "30MB")  # an answer takes seconds


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


class Server:
    """A running `lever serve`; as a context it must end well."""

    def __init__(self, *args, env=None, stderr_lines=None):
        WORK.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [LEVER, "serve", "--port", "0", *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "XDG_CACHE_HOME": str(WORK / "cache"), **(env or {})},
        )
        self.lines, self.changed = [], threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        match = self.wait_line(r"serving (.+) at http://(\S+):(\d+)")
        self.model, self.host, self.port = match[1], match[2], int(match[3])
        self.url = f"http://127.0.0.1:{self.port}"

    def read(self):
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.lines.append(None)
            self.changed.notify_all()

    def wait_line(self, pattern, seconds=100):
        """The first line of stderr with this in it."""

        def found():
            for line in self.lines:
                match = line is not None and re.search(pattern, line)
                if match:
                    return match
            return self.lines[-1:] == [None]

        with self.changed:
            match = self.changed.wait_for(found, seconds)
        assert match and match is not True, f"no '{pattern}' in {self.lines}"
        return match

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None and kind:
            self.process.kill()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(100)
        self.reader.join(10)
        self.process.stderr.close()
        if kind is None:
            assert code == 0, (code, self.lines)

    def end(self, sig=signal.SIGTERM):
        """Returns (exit code, lines of stderr)."""
        self.process.send_signal(sig)
        code = self.process.wait(100)
        self.reader.join(10)
        return code, self.lines[:-1]

    def call(self, path, body=None, headers=None, method=None, seconds=100):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as r:
                return Reply(r.status, r.headers, r.read())
        except urllib.error.HTTPError as e:
            with e:
                return Reply(e.code, e.headers, e.read())

    def chat(self, messages=DOG, headers=None, **fields):
        return self.call("/v1/chat/completions", {"messages": messages, **fields}, headers)

    def say(self, *args, **fields):
        """The content of an answer that must come."""
        r = self.chat(*args, **fields)
        assert r.status == 200, r.body
        return r.json["choices"][0]["message"]["content"]

    def complete(self, prompt, **fields):
        return self.call("/v1/completions", {"prompt": prompt, **fields})

    def stream(self, path="/v1/chat/completions", **fields):
        """The events of an answer: (name or None, data) pairs, data parsed but for [DONE]."""
        if path.endswith("chat/completions"):
            fields.setdefault("messages", DOG)
        r = self.call(path, {"stream": True, **fields})
        assert r.status == 200, r.body
        assert r.headers["Content-Type"].startswith("text/event-stream"), r.headers
        return events(r.body)

    def socket(self, seconds=60):
        return socket.create_connection(("127.0.0.1", self.port), seconds)

    def raw(self, data, seconds=60):
        """Send bytes, and read until the server closes."""
        with self.socket(seconds) as s:
            s.sendall(data)
            return read_all(s)

    def metrics(self):
        """{name with labels: number}, checked line by line."""
        out, typed = {}, set()
        r = self.call("/metrics")
        assert r.status == 200 and r.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        for line in r.body.decode().splitlines():
            if line.startswith("# TYPE "):
                typed.add(line.split()[2])
            elif not line.startswith("#"):
                match = re.fullmatch(r'([a-z_]+)(\{[a-z]+="[^"]*"\})? (-?[0-9.e+-]+)', line)
                assert match, line
                assert re.sub("_(sum|count)$", "", match[1]) in typed or match[1] in typed, line
                out[match[1] + (match[2] or "")] = float(match[3])
        return out

    def wait_metric(self, name, wanted, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.metrics()[name] == wanted:
                return
            time.sleep(0.05)
        raise AssertionError(f"{name} is {self.metrics()[name]}, not {wanted}")


def read_all(s):
    data = b""
    try:
        while piece := s.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def post(path, body, *headers, host="127.0.0.1"):
    """A request as bytes."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def events(body):
    out = []
    for block in body.decode().split("\n\n"):
        if not block:
            continue
        name, data = None, []
        for line in block.split("\n"):
            key, _, value = line.partition(": ")
            assert key in ("event", "data"), block
            if key == "event":
                name = value
            else:
                data.append(value)
        text = "\n".join(data)
        out.append((name, text if text == "[DONE]" else json.loads(text)))
    return out


def text_of(chunks, key="content"):
    """Of a chat's stream."""
    deltas = [c["choices"][0]["delta"] for n, c in chunks if not n and c != "[DONE]" and c.get("choices")]
    return "".join(d.get(key) or "" for d in deltas)


def finish_of(chunks):
    ends = [
        c["choices"][0]["finish_reason"] for n, c in chunks if not n and c != "[DONE]" and c.get("choices")
    ]
    assert all(e is None for e in ends[:-1]), ends
    return ends[-1]


__all__ = ["DOG", "SLOW", "SANITIZED", "Server", "events", "finish_of", "post", "read_all", "text_of"]
