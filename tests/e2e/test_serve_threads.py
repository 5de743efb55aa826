#!/usr/bin/env python3
"""`lever serve` between its three threads: clients that come, go and look on at the same time, and an end in
the middle of it. With a small random model, so that the thread sanitizer can watch it. Standard library only.

usage: test_serve_threads.py LEVER MKMODEL WORK_DIR [unittest options]
SPDX-License-Identifier: MIT
"""

import random
import threading
import unittest

from cli import OK, UNSUP, CliTest, lever
from serving import Server, events, post, text_of

WHY_NOT = None
code, _, err = lever("serve", "--host", "256.0.0.1")
if code == UNSUP:
    WHY_NOT = err.strip()


def ask(seed, **fields):
    talk = [{"role": "user", "content": f"Tell me of day {seed}. " * (1 + seed % 3)}]
    return {"messages": talk, "seed": seed, "max_tokens": 6 + seed, "ignore_eos": True, **fields}


class Client(threading.Thread):
    """Does a few things in an order of its own. Failures are kept for the main thread."""

    def __init__(self, server, want, seed, n):
        super().__init__()
        self.server, self.want, self.n, self.failed = server, want, n, []
        self.dice = random.Random(seed)

    def run(self):
        for _ in range(self.n):
            action = self.dice.choice([self.whole, self.stream, self.leave, self.look])
            try:
                action(self.dice.randrange(len(self.want)))
            except Exception as e:  # of whatever kind: told in the end
                self.failed.append((action.__name__, repr(e)))

    def whole(self, seed):
        r = self.server.chat(**ask(seed))
        assert r.status in (200, 429), r.body
        if r.status == 200:
            assert r.json["choices"][0]["message"]["content"] == self.want[seed]

    def stream(self, seed):
        r = self.server.chat(**ask(seed, stream=True, lever={"cycles": True}))
        assert r.status in (200, 429), r.body
        if r.status == 200:
            assert text_of(events(r.body)) == self.want[seed]

    def leave(self, seed):
        with self.server.socket() as s:
            s.sendall(post("/v1/chat/completions", ask(seed, stream=seed % 2 == 0, max_tokens=200)))
            if self.dice.random() < 0.5:
                s.settimeout(0.05)
                try:
                    s.recv(100)
                except TimeoutError:
                    pass

    def look(self, _):
        assert self.server.call("/lever/status").status == 200
        self.server.metrics()


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Threads(CliTest):
    def serve(self, *args):
        small = ("-m", self.model, "-md", self.draft, "--chat-template", "plain", "-c", 512, "-t", 2)
        return Server(*small, "--temp", "0.8", "--keep-disk", "4MiB", *args)

    def test_clients_come_and_go_at_once(self):
        with self.serve("--parallel", 2, "--queue", 3, "--mem", "64MiB", "--no-pin") as s:
            want = [s.say(**ask(i)) for i in range(6)]
            clients = [Client(s, want, i, 6) for i in range(6)]
            for c in clients:
                c.start()
            for c in clients:
                c.join()
            self.assertEqual([c.failed for c in clients if c.failed], [])
            s.wait_metric("lever_answers_running", 0)
            m = s.metrics()
            self.assertEqual((m["lever_answers_queued"], m["lever_request_bytes"] < 1 << 16), (0, True))
            self.assertEqual([s.say(**ask(i)) for i in range(6)], want)

    def test_one_place_and_no_queue_serve_one_after_the_other(self):
        with self.serve("--parallel", 1, "--queue", 0, "--draft-ahead", "on") as s:
            for i in range(12):  # the place is free when an answer is complete, not a moment later
                r = s.chat(**ask(i % 6, stream=i % 2 == 0))
                self.assertEqual(r.status, 200, r.body)

    def test_the_end_comes_in_the_middle(self):
        for i in range(3):
            with self.serve("--parallel", 2, "--queue", 2, "--grace", i % 2) as s:
                sockets = [s.socket() for _ in range(5)]
                for k, c in enumerate(sockets):
                    c.sendall(post("/v1/chat/completions", ask(k, stream=k % 2 == 0, max_tokens=400)))
                if i:
                    s.wait_metric("lever_answers_running", 2)
                code, lines = s.end()
                self.assertEqual(code, OK, lines)
                for c in sockets:
                    c.close()


if __name__ == "__main__":
    import sys

    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
