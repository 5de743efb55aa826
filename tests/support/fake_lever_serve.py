#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A server that looks like `lever serve` to its page: the page from disk, a scripted answer, made-up cycles.

usage: fake_lever_serve.py [--port N] [--rate TOKENS_PER_S] [--key KEY] [--page FOLDER]

The last message decides what happens: [busy] 429, [down] 503, [bad] 400, [cut] the connection is lost in the
middle, [fail] the server fails there, [hostile], [code], [think], [words N] N words; anything else a short
story. Cycles come as the real server sends them.
"""

import argparse
import http.server
import json
import pathlib
import random
import re
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
STORY = (
    "Once upon a time there was a little boat that lived in a quiet harbour. Every morning it watched the "
    "big ships leave for the open sea, and every evening it watched them come back.\n\n"
    "\"Why do you never leave?\" asked a seagull.\n\n"
    "\"I am waiting for the right wind,\" said the little boat. \"Not too strong, and not too weak.\" The "
    "seagull laughed. \"The right wind is the one that blows,\" it said, and it flew away over the water.\n\n"
    "The next morning the little boat let go of its rope. The wind was a bit too strong and the waves were a "
    "bit too high, but the little boat went up and down and up again, and in the evening it came back to the "
    "quiet harbour with a story of its own."
)
HOSTILE = (
    "<img src=x onerror=\"document.title='broken'\"> <script>document.title='broken'</script> &lt;b&gt; "
    + "W" * 400
    + " \u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u202eevil "
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f680 javascript:alert(1) [x](javascript:alert(2)) "
    "`a<b>` \u0000 end."
)
CODE = (
    "Here is the loop:\n\n```c\nfor (size_t i = 0; i < n; i++) {\n    sum += a[i] * b[i]; // <b>\n}\n```\n\n"
    "It adds `n` products, and nothing else."
)
OTHERS = "the a was it and to of in said not up down boat sea wind harbour one very went came big its".split()


def page_policy():
    """The Content-Security-Policy that the real server is to send: PAGE_CSP of page_files.h."""
    text = (ROOT / "apps/lever/page_files.h").read_text(encoding="utf-8")
    return "".join(re.findall(r'"(.*?)"', text[text.index("#define PAGE_CSP") :].split("#endif")[0]))


def tokens_of(text):
    return re.findall(r"\s*\w{1,7}|\s*[^\w\s]|\s+", text)


class Talker:
    """Cuts a text into cycles: each accepts a few tokens of it, and has a tree around them."""

    def __init__(self, text, seed):
        self.tokens = tokens_of(text)
        self.at = 0
        self.index = 0
        self.random = random.Random(seed)
        self.begin = time.monotonic()

    def other(self):
        return " " + self.random.choice(OTHERS)

    def node(self, parent, text, state, p):
        source = "lookup" if self.random.random() < 0.15 else "draft"
        draft_p = min(0.99, max(0.01, p + self.random.uniform(-0.1, 0.1)))
        return {
            "parent": parent,
            "text": text,
            "p": round(p, 3),
            "draft_p": round(draft_p, 3),
            "source": source,
            "state": state,
        }

    def branches(self, nodes, shadows, parent, depth, room):
        """What the target refuses below a node; room: the probability that is left for it."""
        for _ in range(self.random.choice([0, 1, 1, 2])):
            p = self.random.uniform(0.1, 0.6) * room
            room -= p
            nodes.append(self.node(parent, self.other(), "pruned" if p < 0.06 else "rejected", p))
            if depth < 3:
                self.branches(nodes, shadows, len(nodes) - 1, depth + 1, 0.8)
        for _ in range(self.random.choice([0, 0, 1, 3])):
            shadows.append(
                {
                    "parent": parent,
                    "text": self.other(),
                    "draft_p": round(self.random.uniform(0.001, 0.05), 4),
                }
            )

    def cycle(self):
        """The next one, and the text it adds."""
        left = len(self.tokens) - self.at
        accepted = min(self.random.choice([0, 1, 2, 3, 3, 4, 5, 7]), left - 1)
        new = self.tokens[self.at : self.at + accepted + 1]
        root = self.tokens[self.at - 1] if self.at else ":"
        nodes = [{"parent": -1, "text": root, "p": None, "draft_p": None, "source": "text", "state": "root"}]
        shadows, parent = [], 0
        for text in new[:-1]:
            p = self.random.uniform(0.4, 0.99)
            nodes.append(self.node(parent, text, "accepted", p))
            child = len(nodes) - 1
            self.branches(nodes, shadows, parent, 1, 1 - p)
            parent = child
        self.branches(nodes, shadows, parent, 0, 0.7)
        self.at += accepted + 1
        self.index += 1
        verify = 28 + 0.2 * len(nodes)
        return {
            "cycle": self.index - 1,
            "t_ms": round((time.monotonic() - self.begin) * 1e3, 2),
            "draft_ms": 0.4 * len(nodes),
            "verify_ms": verify,
            "project_ms": 0.8 * (accepted + 1),
            "prune_ms": 0.9,
            "flash_wait_ms": 0.3 * verify,
            "flash_ms": round(0.9 * verify, 2),
            "rows": len(nodes),
            "rows_all": len(nodes),
            "new": len(new),
            "nodes": nodes,
            "shadows": shadows,
            "next": {"text": new[-1]},
        }, "".join(new)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, code, body, kind="application/json", headers=()):
        self.send_response(code)
        for name, value in [("Content-Type", kind), ("Content-Length", str(len(body))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def error(self, code, text, headers=()):
        body = {"error": {"message": text, "type": "error", "code": code}}
        self.reply(code, json.dumps(body).encode(), headers=headers)

    def allowed(self):
        key = self.server.options.key
        return not key or self.headers.get("Authorization") == f"Bearer {key}"

    def parse_request(self):
        self.close_connection = self.server.gone
        return not self.server.gone and super().parse_request()

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/lever/status":
            if not self.allowed():
                return self.error(401, "this server wants an API key")
            return self.reply(200, json.dumps(self.server.status()).encode())
        name = {"/": "index.html"}.get(path, path.lstrip("/"))
        file = pathlib.Path(self.server.options.page) / name
        if "/" in name or file.suffix not in TYPES or not file.is_file():
            return self.error(404, f"nothing is at {path}")
        self.reply(200, file.read_bytes(), TYPES[file.suffix], [("Content-Security-Policy", page_policy())])

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.server.requests.append(body)
        if not self.allowed():
            return self.error(401, "this server wants an API key")
        if self.path != "/v1/chat/completions":
            return self.error(404, f"nothing is at {self.path}")
        said = body["messages"][-1]["content"]
        if "[busy]" in said:
            return self.error(429, "the queue is full", [("Retry-After", "7")])
        if "[down]" in said:
            return self.error(503, "the server is shutting down")
        if "[bad]" in said:
            return self.error(400, "the talk is longer than the context of 4096 tokens")
        self.stream(body, said)

    def event(self, data, name=None):
        text = (
            f"event: {name}\n" if name else ""
        ) + f"data: {json.dumps(data) if data != '[DONE]' else data}\n\n"
        raw = text.encode()
        self.wfile.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
        self.wfile.flush()

    def chunk(self, delta, finish=None, **more):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        self.event(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "fake",
                "choices": [choice],
                **more,
            }
        )

    def answer(self, said):
        words = re.search(r"\[words (\d+)\]", said)
        if words:
            pick = random.Random(3)
            return " ".join(pick.choice(OTHERS) + ("." if i % 9 == 8 else "") for i in range(int(words[1])))
        return HOSTILE if "[hostile]" in said else CODE if "[code]" in said else STORY

    def stream(self, body, said):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.server.active += 1
        try:
            self.chunk({"role": "assistant", "content": ""})
            if "[think]" in said:
                self.talk(
                    body, "The user wants to see me think.\nSo I do, for a while.", said, "reasoning_content"
                )
            n = self.talk(body, self.answer(said), said, "content")
            self.chunk({}, "stop")
            usage = {"prompt_tokens": 20, "completion_tokens": n, "total_tokens": 20 + n}
            self.event(
                {
                    "id": "chatcmpl-1",
                    "object": "chat.completion.chunk",
                    "created": 1,
                    "model": "fake",
                    "choices": [],
                    "usage": usage,
                    "lever": {"decode_tokens_per_s": 41.5},
                }
            )
            self.event("[DONE]")
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.server.aborted += 1
            self.close_connection = True
        finally:
            self.server.active -= 1

    def talk(self, body, text, said, channel):
        talker = Talker(text, body.get("seed") or 1)
        rate = self.server.options.rate
        while talker.at < len(talker.tokens):
            cycle, new = talker.cycle()
            if body.get("lever", {}).get("cycles"):
                self.event(cycle, "lever.cycle")
            self.chunk({channel: new})
            self.server.tokens += cycle["new"]
            time.sleep(cycle["new"] / rate)
            if "[fail]" in said and talker.index == 6:
                self.event({"error": {"message": "reading the model failed", "type": "server_error"}})
                raise BrokenPipeError
            if "[cut]" in said and talker.index == 6:
                self.connection.close()
                raise BrokenPipeError
        return len(talker.tokens)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, options):
        self.options = options
        self.requests, self.tokens, self.active, self.aborted, self.gone = [], 0, 0, 0, False
        self.seen = (time.monotonic(), 0, 0.0)
        super().__init__(("127.0.0.1", options.port), Handler)

    def handle_error(self, *_):
        pass

    def status(self):
        now, (then, tokens, rate) = time.monotonic(), self.seen
        if now - then > 0.5:
            rate = (self.tokens - tokens) / (now - then)
            self.seen = (now, self.tokens, rate)
        mib = 1 << 20
        return {
            "model": "demo-target-q8_0.gguf",
            "mem_limit": 18 * mib,
            "mem_used": int(15.2 * mib),
            "mem_planned": int(16.9 * mib),
            "flash_bytes_per_s": 1.31e9 if self.active else 0,
            "flash_best_bytes_per_s": 1.6e9,
            "tokens_per_s": round(rate, 1),
            "parallel": 2,
            "active": self.active,
            "queued": 0,
            "ctx": 4096,
            "policy": "lever",
        }


def parse(arguments):
    p = argparse.ArgumentParser()
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--rate", type=float, default=40)
    p.add_argument("--key", default="")
    p.add_argument("--page", default=str(ROOT / "apps/lever/page"))
    return p.parse_args(arguments)


def start(*arguments):
    """A server in a thread of this process; its address is server.url."""
    server = Server(parse(list(arguments)))
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    running = start(*sys.argv[1:])
    print(f"listening on {running.url}", flush=True)
    threading.Event().wait()
