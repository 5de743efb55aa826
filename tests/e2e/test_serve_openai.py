#!/usr/bin/env python3
"""`lever serve` with OpenAI's own Python client, which tools/setup.sh installs under build/venv-clients.

usage: test_serve_openai.py LEVER MKMODEL WORK_DIR [unittest options]
SPDX-License-Identifier: MIT
"""

import os
import pathlib
import sys
import threading
import unittest

try:
    import openai
except ImportError:
    python = pathlib.Path(__file__).resolve().parents[2] / "build/venv-clients/bin/python"
    if python.exists() and not sys.prefix.endswith("venv-clients"):
        os.execv(python, [str(python), *sys.argv])
    print("skipped: the openai package is not there; tools/setup.sh clients installs it")
    sys.exit(77)

from cli import UNSUP, CliTest, lever
from serving import DOG, SLOW, Server

code, _, err = lever("serve", "--host", "256.0.0.1")
if code == UNSUP:
    print(f"skipped: {err.strip()}")
    sys.exit(77)


def client_of(s, key="none", **more):
    more.setdefault("max_retries", 0)
    return openai.OpenAI(base_url=s.url + "/v1", api_key=key, timeout=100, **more)


class Client(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = Server()
        cls.client = client_of(cls.server)
        cls.model = cls.client.models.list().data[0].id

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        code, lines = cls.server.end()
        cls.server.process.stderr.close()
        assert code == 0, lines

    def ask(self, **fields):
        return self.client.chat.completions.create(model=self.model, messages=DOG, **fields)

    def test_a_chat(self):
        r = self.ask(max_tokens=12, temperature=0)
        self.assertEqual(r.choices[0].message.content, self.server.say(max_tokens=12, temperature=0))
        self.assertEqual((r.choices[0].finish_reason, r.usage.completion_tokens), ("length", 12))
        self.assertEqual(r.usage.prompt_tokens_details.cached_tokens >= 0, True)
        self.assertEqual(self.client.models.retrieve(self.model).id, self.model)

    def test_a_stream(self):
        whole = self.ask(max_tokens=24, seed=3).choices[0].message.content
        text, usage, finish = "", None, None
        stream = self.ask(max_tokens=24, seed=3, stream=True, stream_options={"include_usage": True})
        for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
        self.assertEqual((text, finish, usage.completion_tokens), (whole, "length", 24))

    def test_cycles_of_the_page_do_not_disturb_it(self):
        stream = self.ask(max_tokens=8, temperature=0, stream=True)
        self.assertEqual(
            "".join(c.choices[0].delta.content or "" for c in stream if c.choices),
            self.server.say(max_tokens=8, temperature=0),
        )

    def test_log_probabilities(self):
        r = self.ask(max_tokens=6, temperature=0, logprobs=True, top_logprobs=3).choices[0]
        self.assertEqual([len(t.top_logprobs) for t in r.logprobs.content], [3] * 6)
        self.assertEqual("".join(t.token for t in r.logprobs.content), r.message.content)

    def test_a_completion(self):
        r = self.client.completions.create(
            model=self.model, prompt="Once upon a", max_tokens=4, temperature=0, echo=True
        )
        self.assertTrue(r.choices[0].text.startswith("Once upon a time"), r)

    def test_errors_are_the_ones_it_knows(self):
        with self.assertRaises(openai.BadRequestError) as e:
            self.ask(temperature=9)
        self.assertEqual((e.exception.param, e.exception.type), ("temperature", "invalid_request_error"))
        with self.assertRaises(openai.BadRequestError) as e:
            self.ask(tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])
        self.assertEqual(e.exception.param, "tools")
        with self.assertRaises(openai.BadRequestError) as e:
            self.client.completions.create(model=self.model, prompt="word " * 3000)
        self.assertEqual(e.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("gpt-4")
        with Server("--api-key", "right") as s:
            with client_of(s, "wrong") as c, self.assertRaises(openai.AuthenticationError):
                c.models.list()
            with client_of(s, "right") as c:
                self.assertEqual(len(c.models.list().data), 1)

    def test_a_stream_that_is_closed_frees_its_place(self):
        with Server(*SLOW, "--parallel", 1, "--queue", 0) as s, client_of(s) as c:
            stream = c.chat.completions.create(
                model="x", messages=DOG, stream=True, extra_body={"ignore_eos": True}
            )
            for _ in zip(range(3), stream):
                pass
            with self.assertRaises(openai.RateLimitError) as e:
                c.chat.completions.create(model="x", messages=DOG)
            self.assertIn("retry-after", e.exception.response.headers)
            stream.close()
            s.wait_metric("lever_answers_running", 0)
            self.assertEqual(s.metrics()['lever_answers_total{end="client_left"}'], 1)

    def test_it_comes_back_by_itself_when_the_queue_was_full(self):
        with Server(*SLOW, "--parallel", 1, "--queue", 0) as s, client_of(s, max_retries=8) as c:
            got = []

            def ask():
                r = c.chat.completions.create(
                    model="x", messages=DOG, max_tokens=2, extra_body={"ignore_eos": True}
                )
                got.append(r.usage.completion_tokens)

            threads = [threading.Thread(target=ask) for _ in range(2)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.assertEqual(got, [2, 2])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
