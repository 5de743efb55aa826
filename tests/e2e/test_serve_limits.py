#!/usr/bin/env python3
"""What `lever serve` does with requests that are wrong, hostile, slow or too many. Standard library only.

usage: test_serve_limits.py LEVER MKMODEL WORK_DIR [unittest options]
SPDX-License-Identifier: MIT
"""

import json
import random
import socket
import sys
import threading
import time
import unittest

from cli import MIB, SANITIZED, UNSUP, WORK, CliTest, lever
from serving import DOG, SLOW, Server, post, read_all

WHY_NOT = None
code, _, err = lever("serve", "--host", "256.0.0.1")
if code == UNSUP:
    WHY_NOT = err.strip()

CHAT = "/v1/chat/completions"
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSING = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
LONG = {"messages": DOG, "stream": True, "ignore_eos": True, "temperature": 0}


def memory_of(s, key):
    with open(f"/proc/{s.process.pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith(key + ":"))


def status_of(raw):
    return int(raw.split(b" ", 2)[1]) if raw.startswith(b"HTTP/1.") else None


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Hostile(CliTest):
    """Each test ends with a request that must be answered."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = Server("--timeout", 2, "--connections", 32, "--max-body", "64KiB")

    @classmethod
    def tearDownClass(cls):
        code, lines = cls.server.end()
        cls.server.process.stderr.close()
        assert code == 0, lines

    def setUp(self):
        self.s = self.server

    def tearDown(self):
        end = time.monotonic() + 30
        while True:
            try:
                self.assertEqual(self.s.chat(max_tokens=2).status, 200)
                break
            except OSError:  # connections of the test are still being closed
                self.assertLess(time.monotonic(), end)
                time.sleep(0.1)

    def refused(self, body, status, code):
        for path in (CHAT, "/v1/completions", "/tokenize", "/detokenize"):
            r = self.s.call(path, body)
            self.assertEqual((r.status, r.error["code"]), (status, code), (path, body[:80]))
            self.assertEqual(set(r.error), {"message", "type", "param", "code"})

    def test_bodies_that_are_no_json(self):
        whole = json.dumps({"messages": DOG, "max_tokens": 1}).encode()
        for body in (
            b"",
            b"{",
            b"null",
            b"[]",
            b"7",
            whole[:-1],
            whole + b"x",
            whole[1:],
            b'{"a":1,"a":2}',
            b"\0" * 9,
            b'{"messages": [{"role": "user", "content": "a\\u0000b"}]}',
            b'{"a": 1e999}',
            b'{"a": NaN}',
        ):
            self.refused(body, 400, "invalid_json")
        rng = random.Random(7)
        for _ in range(60):
            bad = bytearray(whole)
            for _ in range(rng.randrange(1, 4)):
                bad[rng.randrange(len(bad))] = rng.randrange(256)
            self.assertIn(self.s.call(CHAT, bytes(bad)).status, (200, 400))

    def test_text_that_is_not_utf8(self):
        for bad in (b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"):
            self.refused(b'{"content": "' + bad + b'", "prompt": "x"}', 400, "invalid_utf8")

    def test_depth_and_number_of_parts(self):
        self.refused(b"[" * 60000, 400, "json_too_deep")
        self.refused(b'{"a":' * 5000 + b"1" + b"}" * 5000, 400, "json_too_deep")
        self.refused(b'{"x":[' + b",".join([b"[]"] * 21000) + b"]}", 413, "json_too_large")
        self.refused(b'{"x":[' + b",".join([b"{}"] * 21000) + b"]}", 413, "json_too_large")
        text = '"[[[[{{{{"' * 3  # in a string, brackets are text
        self.assertEqual(self.s.call("/tokenize", {"content": text * 100}).status, 200)

    def test_bodies_that_are_too_long(self):
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n".encode()
        r = self.s.raw(head + b"Content-Length: 99999999999\r\n\r\n")
        self.assertEqual(status_of(r), 413)
        self.assertIn(b'"code":"body_too_large"', r)
        self.assertIn(
            status_of(self.s.raw(head + b"Content-Length: 99999999999999999999999\r\n\r\n")), (400, 413)
        )
        chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        r = self.s.raw(
            head + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 6 + b"0\r\n\r\n"
        )
        self.assertEqual(status_of(r), 413)
        r = self.s.call(CHAT, {"messages": DOG, "max_tokens": 1, "padding": "x" * 60000})
        self.assertEqual(r.status, 200)

    def test_heads_that_are_wrong(self):
        for head in (
            b"\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"A" * 40000,
            b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: " + b"y" * 40000,
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        ):
            r = self.s.raw(head)
            self.assertTrue(r == b"" or 400 <= status_of(r) < 600, (head[:60], r[:100]))

    def test_paths_and_methods(self):
        for path in (
            "/nothing",
            "/v1",
            "/v1/",
            "/v1/chat/completions/",
            "/../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "//etc/passwd",
            "/app.js/..",
            "/page/app.js",
            "/index.html%00",
            "/v1/models/../../etc/passwd",
        ):
            r = self.s.call(path)
            self.assertEqual((r.status, r.error["type"]), (404, "invalid_request_error"), path)
        self.assertEqual(self.s.call(CHAT).status, 405)
        self.assertEqual(self.s.call(CHAT).headers["Allow"], "POST, OPTIONS")
        for method in ("PUT", "DELETE", "PATCH", "TRACE", "BREW"):
            self.assertEqual(self.s.call("/v1/models", method=method).status, 405)
        self.assertEqual(self.s.call("/health", b"{}").headers["Allow"], "GET, HEAD, OPTIONS")
        r = self.s.call("/v1/models", method="HEAD")
        self.assertEqual((r.status, r.body), (200, b""))
        self.assertGreater(int(r.headers["Content-Length"]), 50)
        r = self.s.call(CHAT, method="OPTIONS")
        self.assertEqual((r.status, r.body, r.headers["Allow"]), (204, b"", "POST, OPTIONS"))
        self.assertNotIn("Access-Control-Allow-Origin", r.headers)

    def test_requests_may_follow_each_other(self):
        body = {"messages": DOG, "max_tokens": 2, "temperature": 0}
        r = self.s.raw(post(CHAT, body) + GET + post("/tokenize", {"content": "x"}) + CLOSING)
        self.assertEqual(r.count(b"HTTP/1.1 200 OK"), 4)
        self.assertLess(r.index(b'"chat.completion"'), r.index(b'"status"'))
        bad = self.s.raw(post(CHAT, b"{") + CLOSING)
        self.assertEqual((bad.count(b"HTTP/1.1 400"), bad.count(b"HTTP/1.1 200")), (1, 1))

    def test_slow_senders_are_cut(self):
        def drip(data):
            begin = time.monotonic()
            with self.s.socket() as c:
                c.settimeout(0.05)
                for i in range(2000):
                    try:
                        c.sendall(data[i : i + 1])
                        if c.recv(4096) == b"":
                            return
                    except TimeoutError:
                        pass
                    except OSError:
                        return
                    self.assertLess(time.monotonic() - begin, 60, "a slow sender is still served")

        slow = [threading.Thread(target=drip, args=(d * 50,)) for d in (b"GET / HTTP/1.1\r\nX: y\r\n", b"P")]
        slow.append(threading.Thread(target=drip, args=(post(CHAT, {"x": "y" * 2000}),)))
        with self.s.socket() as idle:
            for t in slow:
                t.start()
            self.assertEqual(self.s.chat(max_tokens=4).status, 200)
            for t in slow:
                t.join()
            self.assertEqual(read_all(idle), b"")

    def test_two_hundred_connections(self):
        open_ones = []
        for _ in range(200):
            try:
                c = self.s.socket(5)
                c.sendall(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n")
                open_ones.append(c)
            except OSError:
                break
        self.assertGreater(len(open_ones), 30)
        for c in open_ones:
            c.close()
        self.s.wait_metric("lever_connections", 1)


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Places(CliTest):
    def test_clients_that_leave_free_their_place(self):
        with Server(*SLOW, "--parallel", 2, "--queue", 2) as s:
            for body in (LONG, {**LONG, "stream": False}):
                with s.socket() as a, s.socket() as b, s.socket() as waiting:
                    a.sendall(post(CHAT, body))
                    b.sendall(post(CHAT, {**body, "stream": False}))
                    s.wait_metric("lever_answers_running", 2)
                    waiting.sendall(post(CHAT, body))
                    s.wait_metric("lever_answers_queued", 1)
                    if body["stream"]:
                        self.assertIn(b"200 OK", a.recv(1000))
                s.wait_metric("lever_answers_running", 0)
                self.assertEqual(s.metrics()["lever_answers_queued"], 0)
            self.assertEqual(s.metrics()['lever_answers_total{end="client_left"}'], 6)
            with s.socket() as half:  # nothing more will come, and the answer is not waited for either
                half.sendall(post(CHAT, LONG))
                s.wait_metric("lever_answers_running", 1)
                half.shutdown(socket.SHUT_WR)
                s.wait_metric("lever_answers_running", 0)
            self.assertEqual(s.chat(max_tokens=1).status, 200)

    def test_a_flood_is_told_to_come_back(self):
        with Server(*SLOW, "--parallel", 1, "--queue", 2) as s:
            replies = []

            def ask():
                replies.append(s.chat(max_tokens=3, ignore_eos=True))

            threads = [threading.Thread(target=ask) for _ in range(8)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            full = [r for r in replies if r.status == 429]
            self.assertEqual(sorted({r.status for r in replies}), [200, 429])
            self.assertGreaterEqual(len(full), 4)
            for r in full:
                self.assertEqual((r.error["type"], r.error["code"]), ("rate_limit_error", "queue_full"))
                self.assertTrue(1 <= int(r.headers["Retry-After"]) <= 60)
            self.assertEqual(s.metrics()['lever_refused_total{reason="queue_full"}'], len(full))

    def test_nobody_waits_for_all_of_anothers_requests(self):
        keys = WORK / "keys"
        keys.write_text("# two clients\n\n many \n\tone\n")
        with Server(*SLOW, "--parallel", 1, "--api-key-file", keys) as s:
            order = []

            def ask(key):
                r = s.chat(headers={"Authorization": f"Bearer {key}"}, max_tokens=2, ignore_eos=True)
                order.append((key, r.status))

            def wait_busy(n):
                while s.call("/lever/status", headers={"Authorization": "Bearer one"}).json["queued"] < n:
                    time.sleep(0.02)

            threads = [threading.Thread(target=ask, args=("many",)) for _ in range(5)]
            for t in threads:
                t.start()
            wait_busy(4)
            last = threading.Thread(target=ask, args=("one",))
            last.start()
            for t in (*threads, last):
                t.join()
            self.assertEqual({status for _, status in order}, {200})
            self.assertIn(order.index(("one", 200)), (1, 2))


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Askers(CliTest):
    def test_keys(self):
        with Server("--api-key", "s3cret", env={"LEVER_API_KEY": "not this one"}) as s:
            for headers in (
                {},
                {"Authorization": "Bearer"},
                {"Authorization": "Bearer x"},
                {"Authorization": "s3cret"},
                {"Authorization": "Bearer s3cre"},
                {"Authorization": "Bearer s3crets"},
                {"X-Api-Key": "s3cret"},
                {"Authorization": "Bearer not this one"},
                {"Authorization": "Bearer " + "s3cret" * 50},
            ):
                for path in ("/v1/models", "/metrics", "/lever/status"):
                    r = s.call(path, headers=headers)
                    self.assertEqual((r.status, r.error["code"]), (401, "invalid_api_key"), headers)
                    self.assertEqual(r.headers["WWW-Authenticate"], "Bearer")
                self.assertEqual(s.chat(headers=headers).status, 401)
            right = {"Authorization": "Bearer s3cret"}
            self.assertEqual(s.chat(headers=right, max_tokens=1).status, 200)
            self.assertEqual(s.call("/metrics", headers=right).status, 200)
            self.assertEqual((s.call("/health").status, s.call("/").status), (200, 200))
        with Server(env={"LEVER_API_KEY": "s3cret"}) as s:
            self.assertEqual(
                (s.call("/v1/models").status, s.call("/v1/models", headers=right).status), (401, 200)
            )

    def test_names_of_elsewhere_and_pages_of_elsewhere(self):
        with Server("--allow-host", "box.local,other") as s:
            for host, status in (
                ("localhost", 200),
                ("localhost:1", 200),
                ("127.0.0.1", 200),
                ("[::1]:80", 200),
                ("BOX.local:9", 200),
                ("other", 200),
                ("evil.example", 403),
                ("localhost.evil.example", 403),
                ("127.0.0.1.evil.example", 403),
                ("", 403),
                ("box", 403),
            ):
                self.assertEqual(s.call("/v1/models", headers={"Host": host}).status, status, host)
            same = f"http://127.0.0.1:{s.port}"
            for origin, status in (
                (same, 200),
                ("http://evil.example", 403),
                ("null", 403),
                (same + "0", 403),
            ):
                r = s.call("/v1/models", headers={"Origin": origin})
                self.assertEqual(r.status, status, origin)
                self.assertNotIn("Access-Control-Allow-Origin", r.headers)
        with Server("--cors", "https://app.example") as s:
            ours, other = {"Origin": "https://app.example"}, {"Origin": "https://evil.example"}
            r = s.call(CHAT, method="OPTIONS", headers={**ours, "Access-Control-Request-Method": "POST"})
            self.assertEqual(
                (r.status, r.headers["Access-Control-Allow-Origin"]), (204, "https://app.example")
            )
            self.assertIn("Authorization", r.headers["Access-Control-Allow-Headers"])
            r = s.chat(headers=ours, max_tokens=1)
            self.assertEqual(
                (r.status, r.headers["Access-Control-Allow-Origin"]), (200, "https://app.example")
            )
            self.assertEqual(s.chat(headers=other).status, 403)

    def test_the_page_comes_with_its_policy_and_is_not_sent_twice(self):
        with Server() as s:
            r = s.call("/")
            self.assertEqual(r.status, 200)
            self.assertIn("default-src 'none'", r.headers["Content-Security-Policy"])
            again = s.call("/", headers={"If-None-Match": r.headers["ETag"]})
            self.assertEqual((again.status, again.body), (304, b""))
            for path, kind in (
                ("/app.js", "text/javascript"),
                ("/style.css", "text/css"),
                ("/icon.svg", "image/svg+xml"),
            ):
                self.assertTrue(s.call(path).headers["Content-Type"].startswith(kind), path)


@unittest.skipIf(WHY_NOT, WHY_NOT)
@unittest.skipIf(SANITIZED, "sanitizers take memory of their own")
class Memory(CliTest):
    def storm(self, s, rounds):
        """Everything that takes memory, from several clients at once."""
        story = self.story("storm.txt", 20).read_text()

        def big(i):
            for k in range(rounds):
                s.call("/tokenize", {"content": story[: 8000 + 1000 * k]})
                s.call(CHAT, b'{"x":[' + b",".join([b"[]"] * 20000) + b"]}")
                s.call(CHAT, {"messages": [{"role": "user", "content": "x"}] * 900, "max_tokens": 1})
                s.complete(story[: 2500 + 100 * i], max_tokens=60, logprobs=20, seed=i, ignore_eos=True)
                with s.socket() as c:
                    c.sendall(
                        post(CHAT, {**LONG, "logprobs": True, "top_logprobs": 20, "lever": {"cycles": True}})
                    )
                    c.recv(10000)

        threads = [threading.Thread(target=big, args=(i,)) for i in range(6)]
        idle = [s.socket() for _ in range(16)]
        for c in idle:
            c.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 8000)
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for c in idle:
            c.close()

    def test_peak_memory_is_below_the_limit(self):
        for mem in (40 * MIB, 60 * MIB):
            with Server("--mem", mem, "--max-body", "128KiB", "--connections", 32) as s:
                self.storm(s, 1)
                peak = memory_of(s, "VmHWM")
                self.assertLess(peak, mem, s.call("/lever/status").body)
                self.assertEqual(s.say(temperature=0, max_tokens=4)[:4], "Once")

    def test_memory_does_not_grow(self):
        with Server("--max-body", "128KiB", "--connections", 32) as s:
            self.storm(s, 1)
            before = memory_of(s, "VmRSS")
            self.storm(s, 3)
            s.wait_metric("lever_answers_running", 0)
            self.assertLess(memory_of(s, "VmRSS"), before + MIB)
            self.assertLess(s.metrics()["lever_request_bytes"], 20000)

    def test_who_does_not_read_is_cut(self):
        with Server("--timeout", 1) as s:
            with s.socket() as c:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                fields = {"logprobs": True, "top_logprobs": 20, "lever": {"cycles": True}, "max_tokens": 900}
                c.sendall(post(CHAT, {**LONG, **fields}))
                s.wait_metric("lever_answers_running", 1)
                s.wait_metric("lever_connections", 1)
            self.assertEqual(s.metrics()["lever_answers_running"], 0)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
