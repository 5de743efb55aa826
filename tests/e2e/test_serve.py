#!/usr/bin/env python3
"""`lever serve` as clients see it: answers, streams, every field, every endpoint. Standard library only.

usage: test_serve.py LEVER MKMODEL WORK_DIR [unittest options]
SPDX-License-Identifier: MIT
"""

import json
import math
import signal
import threading
import time
import unittest

from cli import CANCEL, IO, LEVER, OK, UNSUP, USAGE, WORK, CliTest, lever, make
from serving import DOG, SLOW, Server, events, finish_of, post, text_of

WHY_NOT = None
code, _, err = lever("serve", "--host", "256.0.0.1")
if code == UNSUP:
    WHY_NOT = err.strip()


def run_text(prompt, *args):
    """What `lever run` gives alone, without the prompt."""
    code, out, err = lever("run", "-p", prompt, "--json", "--no-display-prompt", *args)
    assert code == OK, err
    return json.loads(out)["text"]


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Answers(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        code, lines = cls.server.end()
        cls.server.process.stderr.close()
        assert code == OK, lines

    def setUp(self):
        self.s = self.server

    def test_a_chat_is_answered_as_lever_run_does(self):
        r = self.s.chat(temperature=0, max_tokens=24)
        self.assertEqual(r.status, 200, r.body)
        self.assertEqual(r.headers["Content-Type"], "application/json")
        answer = r.json
        self.assertTrue(answer["id"].startswith("chatcmpl-"))
        self.assertEqual((answer["object"], answer["model"]), ("chat.completion", "lever-demo-target.Q8_0"))
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")
        self.assertEqual(answer["choices"][0]["message"]["role"], "assistant")
        turns = WORK / "dog.jsonl"
        turns.write_text(json.dumps({"turns": [DOG[0]["content"]]}))
        _, want, _ = lever("run", "--prompts", turns, "--temp", 0, "-n", 24, "--json")
        self.assertEqual(answer["choices"][0]["message"]["content"], json.loads(want)["text"].strip(" \n"))
        usage = answer["usage"]
        self.assertEqual((usage["completion_tokens"], usage["prompt_tokens"]), (24, 16))
        self.assertEqual(usage["total_tokens"], 40)
        self.assertEqual(answer["lever"]["stop"], "max_tokens")
        self.assertGreater(answer["lever"]["first_token_s"], 0)

    def test_seeds_give_the_text_of_lever_run(self):
        for seed in (1, 2, 2**40):
            got = self.s.complete("Once upon a time", seed=seed, temperature=0.9, max_tokens=32).json
            want = run_text("Once upon a time", "--seed", seed, "--temp", 0.9, "-n", 32)
            self.assertEqual(got["choices"][0]["text"], want)
            self.assertEqual(got["lever"]["seed"], seed)

    def test_an_answer_without_a_seed_can_be_repeated_with_the_one_it_tells(self):
        first = self.s.chat(max_tokens=16).json
        again = self.s.chat(max_tokens=16, seed=first["lever"]["seed"]).json
        self.assertEqual(first["choices"], again["choices"])
        self.assertNotEqual(first["lever"]["seed"], self.s.chat(max_tokens=1).json["lever"]["seed"])

    def test_sampling_fields_have_the_effect_of_the_options(self):
        fields = {"temperature": 1.2, "top_p": 0.8, "top_k": 5, "min_p": 0.1, "repeat_penalty": 1.3}
        options = ("--temp", 1.2, "--top-p", 0.8, "--top-k", 5, "--min-p", 0.1, "--repeat-penalty", 1.3)
        got = self.s.complete("The cat", seed=3, max_tokens=24, **fields).json["choices"][0]["text"]
        self.assertEqual(got, run_text("The cat", "--seed", 3, "-n", 24, *options))
        self.assertNotEqual(got, run_text("The cat", "--seed", 3, "-n", 24))
        cold = self.s.complete("The cat", top_p=0, max_tokens=8).json["choices"][0]["text"]
        self.assertEqual(cold, run_text("The cat", "--temp", 0, "-n", 8))

    def test_a_stream_has_the_same_text_and_ends_with_done(self):
        whole = self.s.say(seed=5, max_tokens=40)
        chunks = self.s.stream(seed=5, max_tokens=40)
        self.assertEqual(chunks[-1], (None, "[DONE]"))
        self.assertEqual(text_of(chunks), whole)
        self.assertEqual(finish_of(chunks), "length")
        self.assertGreater(len(chunks), 20)
        first = chunks[0][1]
        self.assertEqual(first["choices"][0]["delta"], {"role": "assistant", "content": ""})
        for name, c in chunks[:-1]:
            self.assertIsNone(name)
            self.assertEqual((c["id"], c["object"]), (first["id"], "chat.completion.chunk"))
            self.assertNotIn("usage", c)
            self.assertNotIn("lever", c)

    def test_usage_comes_with_a_stream_that_asks_for_it(self):
        chunks = self.s.stream(max_tokens=8, stream_options={"include_usage": True})
        last = chunks[-2][1]
        self.assertEqual(last["choices"], [])
        self.assertEqual(last["usage"]["completion_tokens"], 8)
        self.assertIn("decode_tokens_per_s", last["lever"])
        self.assertTrue(all(c["usage"] is None for _, c in chunks[:-2]))

    def test_stops_may_span_tokens_and_nothing_of_them_goes_out(self):
        whole = self.s.say(temperature=0, max_tokens=40)
        for begin, end in ((9, 22), (3, 4), (20, 21), (0, 5), (11, 30)):
            stop = whole[begin:end]
            cut = whole[: whole.index(stop)]
            r = self.s.chat(temperature=0, max_tokens=40, stop=stop).json
            self.assertEqual(r["choices"][0]["message"]["content"], cut)
            self.assertEqual(
                (r["choices"][0]["finish_reason"], r["lever"]["stop"]), ("stop", "stop_sequence")
            )
            chunks = self.s.stream(temperature=0, max_tokens=40, stop=["never seen", stop])
            self.assertEqual((text_of(chunks), finish_of(chunks)), (cut, "stop"))
        almost = whole[10:20] + "\u2603"  # begins many times, never ends: nothing is lost
        self.assertEqual(self.s.say(temperature=0, max_tokens=40, stop=almost), whole)
        self.assertEqual(text_of(self.s.stream(temperature=0, max_tokens=40, stop=almost)), whole)
        tail = whole[-4:] + "x"  # held back at the end, then sent
        self.assertEqual(text_of(self.s.stream(temperature=0, max_tokens=40, stop=tail)), whole)

    def test_logprobs_are_those_of_the_model(self):
        fields = {"seed": 9, "max_tokens": 20}
        plain = self.s.say(**fields)
        r = self.s.chat(logprobs=True, top_logprobs=5, **fields).json["choices"][0]
        tokens = r["logprobs"]["content"]
        self.assertEqual(r["message"]["content"], plain)
        self.assertEqual(len(tokens), 20)
        self.assertEqual("".join(t["token"] for t in tokens).strip(" \n"), plain.strip(" \n"))
        for t in tokens:
            self.assertEqual(bytes(t["bytes"]).decode(), t["token"])
            top = [x["logprob"] for x in t["top_logprobs"]]
            self.assertEqual((len(top), top), (5, sorted(top, reverse=True)))
            self.assertLessEqual(sum(math.exp(x) for x in top), 1.0001)
            self.assertLessEqual(t["logprob"], top[0])
            same = [x["logprob"] for x in t["top_logprobs"] if x["bytes"] == t["bytes"]]
            self.assertTrue(not same or same[0] == t["logprob"])
        chunks = self.s.stream(logprobs=True, top_logprobs=5, **fields)
        lists = [c["choices"][0]["logprobs"] for _, c in chunks[:-1]]
        self.assertEqual([t for x in lists if x for t in x["content"]], tokens)
        cold = self.s.chat(logprobs=True, top_logprobs=1, temperature=0, max_tokens=8).json["choices"][0]
        for t in cold["logprobs"]["content"]:
            self.assertEqual(t["top_logprobs"][0]["logprob"], t["logprob"])
        self.assertIsNone(self.s.chat(max_tokens=1).json["choices"][0]["logprobs"])

    def test_log_probabilities_sum_to_one_over_the_whole_vocabulary(self):
        p = 0
        code = self.s.call("/tokenize", {"content": "Once upon"}).json["tokens"]
        r = self.s.complete(code, max_tokens=1, logprobs=20, temperature=0).json["choices"][0]["logprobs"]
        p = sum(math.exp(v) for v in r["top_logprobs"][0].values())
        self.assertTrue(0.9 < p <= 1.0001, p)  # " a" follows nearly always

    def test_completions_have_log_probabilities_with_offsets_and_echo(self):
        r = self.s.complete("Once upon a", max_tokens=12, temperature=0, logprobs=2).json["choices"][0]
        lists = r["logprobs"]
        self.assertEqual("".join(lists["tokens"]), r["text"])
        self.assertEqual([len(lists[k]) for k in ("token_logprobs", "top_logprobs", "text_offset")], [12] * 3)
        self.assertEqual(
            [r["text"][o:][: len(t)] for o, t in zip(lists["text_offset"], lists["tokens"])], lists["tokens"]
        )
        echo = self.s.complete("Once upon a", max_tokens=12, temperature=0, echo=True).json["choices"][0]
        self.assertEqual(echo["text"], "Once upon a" + r["text"])
        chunks = self.s.stream(
            "/v1/completions", prompt="Once upon a", max_tokens=12, temperature=0, echo=True
        )
        self.assertEqual("".join(c["choices"][0]["text"] for _, c in chunks[:-1]), echo["text"])
        self.assertEqual(chunks[0][1]["object"], "text_completion")

    def test_a_prompt_may_be_tokens(self):
        tokens = self.s.call("/tokenize", {"content": "Once upon a time", "add_special": True}).json["tokens"]
        text = self.s.complete("Once upon a time", temperature=0, max_tokens=8).json["choices"][0]["text"]
        for prompt in (tokens, [tokens], ["Once upon a time"]):
            r = self.s.complete(prompt, temperature=0, max_tokens=8)
            self.assertEqual(r.json["choices"][0]["text"], text, prompt)
        self.assertEqual(self.s.complete("Once", temperature=0).json["usage"]["completion_tokens"], 16)

    def test_texts_become_tokens_and_come_back(self):
        for text in ("Once upon a time", "caf\u00e9 \u2603 \U0001f600\n\t\"\\", ""):
            r = self.s.call("/tokenize", {"content": text}).json
            self.assertEqual(len(r["tokens"]), r["count"])
            back = self.s.call("/detokenize", {"tokens": r["tokens"]}).json["content"]
            self.assertEqual(back, text)
        code, out, _ = lever("run", "-p", "Once upon a time", "-n", 1, "--json", "-q")
        self.assertEqual(self.s.call("/detokenize", {"tokens": [10**9]}).status, 400)
        self.assertEqual(self.s.call("/tokenize", {"content": 7}).error["param"], "content")

    def test_messages_take_parts_and_the_names_others_have_for_roles(self):
        parts = [{"type": "text", "text": "Tell me a story "}, {"type": "text", "text": "about a dog."}]
        want = self.s.say(temperature=0, max_tokens=12)
        self.assertEqual(self.s.say([{"role": "user", "content": parts}], temperature=0, max_tokens=12), want)
        system = [{"role": "system", "content": "You are a pirate."}] + DOG
        developer = [{"role": "developer", "content": "You are a pirate."}] + DOG
        self.assertEqual(
            self.s.say(system, temperature=0, max_tokens=12),
            self.s.say(developer, temperature=0, max_tokens=12),
        )

    def test_a_talk_that_goes_on_is_not_evaluated_again(self):
        talk = list(DOG)
        first = self.s.chat(talk, temperature=0, max_tokens=40).json
        talk += [first["choices"][0]["message"], {"role": "user", "content": "And then?"}]
        second = self.s.chat(talk, temperature=0, max_tokens=16).json
        cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
        self.assertGreater(cached, 40)
        self.assertLess(second["usage"]["prompt_tokens"] - cached, 20)

    def test_talks_without_a_place_are_kept_on_disk(self):
        def folders():
            return sorted(p.name for p in (WORK / "cache/lever").glob("serve-*"))

        talks = [
            [{"role": "user", "content": f"Tell me a long story about {w}, please."}]
            for w in ("cats", "the sea", "a boy")
        ]
        mine = dict(temperature=0, max_tokens=60)
        want, got = [], []
        with Server("--parallel", 1, "--keep-disk", 0) as s:
            first = [s.say(t, **mine) for t in talks]
            for t, a in zip(talks, first):
                t += [{"role": "assistant", "content": a}, {"role": "user", "content": "And then?"}]
            want = [s.say(t, **mine) for t in talks]
            self.assertEqual(s.metrics()["lever_conversations_saved_total"], 0)
        dead = WORK / "cache/lever/serve-99999999"  # of a server that was killed
        dead.mkdir(parents=True, exist_ok=True)
        (dead / "1").write_text("x")
        with Server("--parallel", 1) as s:
            self.assertFalse(dead.exists())
            for t in talks:
                s.say(t[:1], **mine)
            for t in talks:
                r = s.chat(t, **mine).json
                got.append(r["choices"][0]["message"]["content"])
                self.assertGreater(r["usage"]["prompt_tokens_details"]["cached_tokens"], 60)
            m = s.metrics()
            self.assertEqual(
                (m["lever_conversations_saved_total"], m["lever_conversations_loaded_total"]), (5, 3)
            )
            mine_now = f"serve-{s.process.pid}"
            self.assertIn(mine_now, folders())
        self.assertEqual(got, want)
        self.assertNotIn(mine_now, folders())
        with Server("--parallel", 1, "--keep-disk", "1KiB") as s:  # no file fits
            self.assertEqual([s.say(t, **mine) for t in talks], want)
            self.assertEqual(s.metrics()["lever_conversations_saved_total"], 0)

    def test_models_are_listed(self):
        models = self.s.call("/v1/models").json
        self.assertEqual((models["object"], len(models["data"])), ("list", 1))
        self.assertEqual(self.s.call("/v1/models/" + models["data"][0]["id"]).json, models["data"][0])
        self.assertEqual(self.s.call("/v1/models/gpt-4").error["code"], "model_not_found")

    def metrics_at_rest(self):
        """A place is free a moment after the last byte of its answer, or after its client has left."""
        for _ in range(200):
            m = self.s.metrics()
            if not m["lever_answers_running"] and not m["lever_answers_queued"]:
                break
            time.sleep(0.05)
        return m

    def test_health_status_and_metrics(self):
        self.assertEqual(self.s.call("/health").json, {"status": "ok"})
        before = self.metrics_at_rest()
        self.s.say(max_tokens=8)
        after = self.metrics_at_rest()
        grown = {k: after[k] - before.get(k, 0) for k in after}
        self.assertEqual(grown["lever_generated_tokens_total"], 8)
        self.assertEqual(grown["lever_prompt_tokens_total"], 16)
        self.assertEqual(grown['lever_answers_total{end="length"}'], 1)
        self.assertEqual((after["lever_answers_running"], after["lever_answers_queued"]), (0, 0))
        status = self.s.call("/lever/status").json
        self.assertEqual((status["active"], status["queued"], status["ctx"]), (0, 0, 1024))
        self.assertLess(status["mem_used"], status["mem_limit"])
        self.assertGreater(status["tokens_per_s"], 0)

    def test_cycles_come_to_those_who_ask(self):
        got = self.s.stream(max_tokens=24, temperature=0, lever={"cycles": True})
        cycles = [c for name, c in got if name == "lever.cycle"]
        plain = [(name, c) for name, c in got if name is None]
        self.assertEqual(text_of(plain), self.s.say(max_tokens=24, temperature=0))
        self.assertEqual(sum(c["new"] for c in cycles), 24)
        self.assertIn("usage", plain[-2][1])
        self.assertIn("tokens_per_sweep", plain[-2][1]["lever"])
        for c in cycles:
            self.assertEqual((c["nodes"][0]["parent"], c["nodes"][0]["state"]), (-1, "root"))
            self.assertEqual(c["rows"], len(c["nodes"]))
            states = {n["state"] for n in c["nodes"][1:]}
            self.assertLessEqual(states, {"accepted", "rejected", "pruned"})
            accepted = [n["text"] for n in c["nodes"] if n["state"] == "accepted"]
            self.assertIn(c["new"] - len(accepted), (0, 1))
            for i, n in enumerate(c["nodes"][1:], 1):
                self.assertTrue(0 <= n["parent"] < i)
            for key in (
                "t_ms",
                "draft_ms",
                "verify_ms",
                "project_ms",
                "prune_ms",
                "flash_wait_ms",
                "flash_ms",
            ):
                self.assertGreaterEqual(c[key], 0)

    def test_fields_of_a_wrong_type_are_named(self):
        for field, value in (
            ("temperature", "hot"),
            ("temperature", -1),
            ("temperature", 3),
            ("top_p", [1]),
            ("top_k", 1.5),
            ("seed", "x"),
            ("max_tokens", 0),
            ("max_tokens", "many"),
            ("max_completion_tokens", -3),
            ("stream", "yes"),
            ("stop", 7),
            ("stop", [""]),
            ("stop", ["x"] * 17),
            ("stop", "x" * 257),
            ("logprobs", 3),
            ("top_logprobs", 5),
            ("top_logprobs", 21),
            ("n", 2),
            ("n", "1"),
            ("model", 4),
            ("stream_options", {}),
            ("stream_options", 3),
            ("messages", []),
            ("messages", {}),
            ("lever", []),
            ("reasoning_effort", 3),
            ("min_p", 2),
            ("repeat_penalty", 0),
        ):
            r = self.s.call("/v1/chat/completions", {"messages": DOG, field: value})
            self.assertEqual((r.status, r.error["param"]), (400, field), (value, r.body))
            self.assertEqual(r.error["type"], "invalid_request_error")
            self.assertIn(field, r.error["message"])
        for messages, param in (
            ([3], "messages[0]"),
            ([{"content": "x"}], "messages[0].role"),
            ([{"role": "tool", "content": "x"}], "messages[0].role"),
            ([{"role": "user"}], "messages[0].content"),
            ([{"role": "user", "content": 3}], "messages[0].content"),
            (
                [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
                "messages[0].content[0]",
            ),
            ([*DOG, {"role": "assistant", "content": "x", "tool_calls": [{}]}, *DOG], "messages"),
            ([*DOG, {"role": "assistant", "content": "x"}], "messages"),
        ):
            r = self.s.chat(messages)
            self.assertEqual((r.status, r.error["param"]), (400, param), r.body)

    def test_what_is_not_offered_is_refused_and_neutral_values_are_not(self):
        for field, value in (
            ("tools", [{"type": "function"}]),
            ("tool_choice", "required"),
            ("functions", [{}]),
            ("response_format", {"type": "json_object"}),
            ("logit_bias", {"50256": -100}),
            ("audio", {"voice": "x"}),
            ("modalities", ["text", "audio"]),
            ("presence_penalty", 0.5),
            ("frequency_penalty", -0.5),
        ):
            r = self.s.chat(max_tokens=1, **{field: value})
            self.assertEqual((r.status, r.error["param"]), (400, field), r.body)
            self.assertIn("not supported", r.error["message"])
        neutral = {
            "tools": [],
            "tool_choice": "auto",
            "response_format": {"type": "text"},
            "logit_bias": {},
            "n": 1,
            "presence_penalty": 0,
            "frequency_penalty": 0.0,
            "user": "me",
            "store": False,
            "metadata": {},
            "modalities": ["text"],
            "seed": None,
            "stop": None,
            "temperature": None,
            "max_tokens": 1,
            "model": "gpt-4",
            "service_tier": "auto",
            "some_new_field": {"x": [1]},
            "functions": None,
        }
        self.assertEqual(self.s.chat(**neutral).status, 200)
        self.assertEqual(self.s.complete("x", suffix="y").error["param"], "suffix")
        self.assertEqual(self.s.complete("x", best_of=3).error["param"], "best_of")
        self.assertEqual(self.s.complete(["x", "y"]).error["param"], "prompt")
        self.assertEqual(self.s.complete([1, "y"]).error["param"], "prompt")
        self.assertEqual(self.s.call("/v1/completions", {}).error["code"], "missing_required_parameter")

    def test_a_prompt_longer_than_the_context_is_refused(self):
        for r in (
            self.s.chat([{"role": "user", "content": "word " * 2000}]),
            self.s.complete("word " * 2000),
            self.s.complete([5] * 1024),
            self.s.complete("x" * 500000),
        ):
            self.assertEqual((r.status, r.error["code"]), (400, "context_length_exceeded"), r.body)

    def test_an_answer_ends_with_the_context(self):
        r = self.s.complete([5] * 1000, max_tokens=1000, ignore_eos=True, temperature=0).json
        self.assertEqual((r["lever"]["stop"], r["choices"][0]["finish_reason"]), ("context", "length"))
        self.assertEqual(r["usage"]["total_tokens"], 1024)

    def test_many_at_once_each_get_their_own_text(self):
        asks = [
            {"seed": i, "max_tokens": 24, "messages": [{"role": "user", "content": f"A story, number {i}."}]}
            for i in range(10)
        ]
        want = [self.s.say(**a) for a in asks]
        got = [None] * len(asks)

        def ask(i):
            got[i] = text_of(self.s.stream(**asks[i])) if i % 2 else self.s.say(**asks[i])

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(asks))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(got, want)


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Forms(CliTest):
    def test_reasoning_has_a_channel_of_its_own(self):
        # A random model whose form begins every answer within <think>: what it writes is reasoning to its end.
        chatml = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        with Server("--chat-template", "plain", "-m", self.model) as s:
            self.assertEqual(s.chat(max_tokens=4).status, 200, chatml)

    def test_a_model_with_an_unknown_template_still_completes(self):
        odd = make("odd.gguf", "--chat-template", "<|im_start|>user<|im_sep|>{{ m }}<|im_end|>")
        with Server("-m", odd, "--alias", "odd one") as s:
            self.assertEqual(s.call("/v1/models").json["data"][0]["id"], "odd one")
            r = s.chat(max_tokens=2)
            self.assertEqual((r.status, r.error["code"]), (400, "no_chat_template"))
            self.assertIn("--chat-template", r.error["message"])
            self.assertEqual(s.complete("x", max_tokens=2).status, 200)


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Program(CliTest):
    def test_bad_settings_end_it_before_a_model_is_read(self):
        for args, code in (
            (("--port", 70000), USAGE),
            (("--host", "256.0.0.1"), IO),
            (("--api-key-file", "/no/such"), IO),
            (("--max-body", "10"), USAGE),
            (("--connections", 0), USAGE),
            (("--parallel", 65), USAGE),
            (("--timeout", 0), USAGE),
            (("--api-key", ""), USAGE),
            (("--think", "maybe"), USAGE),
        ):
            got, _, err = lever("serve", "-m", "/no/such/model", *args)
            self.assertEqual(got, code, (args, err))
            self.assertTrue(err.startswith("lever: "), err)
        code, _, err = lever("serve", "-m", "/no/such/model", "--port", 0)
        self.assertEqual(code, IO)
        self.assertIn("/no/such/model", err)
        with Server() as s:
            code, _, err = lever("serve", "--port", s.port)
            self.assertEqual(code, IO)
            self.assertIn("in use", err)

    def test_one_line_for_each_request(self):
        with Server("--log-json") as s:
            s.say(max_tokens=4)
            s.call("/no%0athing\u00e4".encode("ascii", "ignore").decode())
            line = s.wait_line(r'\{.*"path":"/v1/chat/completions".*')[0]
            entry = json.loads(line)
            self.assertEqual((entry["status"], entry["method"], entry["peer"]), (200, "POST", "127.0.0.1"))
            self.assertIn("4 new tokens", entry["detail"])
            self.assertEqual(json.loads(s.wait_line(r'\{.*"path":"/no.*')[0])["status"], 404)
        with Server("--quiet") as s:
            s.say(max_tokens=1)
            self.assertEqual(len([x for x in s.lines if "POST" in x]), 0)

    def test_reads_that_fail_fail_their_answers_and_no_others(self):
        env = {"LEVER_IO_FAULTS": "first=150,count=30,error=EIO"}
        with Server("--mem", "40MiB", "--max-body", "64KiB", "--parallel", 1, env=env) as s:
            want = self.s_text()
            got = [s.chat(max_tokens=4, temperature=0, ignore_eos=True) for _ in range(60)]
            bad = [r for r in got if r.status != 200]
            self.assertEqual({r.status for r in bad}, {500}, [r.body for r in bad])
            self.assertLess(len(bad), 20)
            self.assertEqual(got[-1].status, 200)
            self.assertEqual(bad[0].error["type"], "server_error")
            self.assertIn("lever-demo-target", bad[0].error["message"])
            good = {r.json["choices"][0]["message"]["content"] for r in got if r.status == 200}
            self.assertEqual(good, {want})

    def s_text(self):
        with Server() as s:
            return s.say(max_tokens=4, temperature=0)

    def test_as_many_conversations_as_memory_has_room_for(self):
        # Places that nobody uses keep weights: where one text of the whole context leaves some, four short ones do too.
        for mem, places in ((32, 1), (64, 4)):
            with Server("--mem", f"{mem}MiB", "--max-body", "64KiB") as s:
                self.assertEqual(s.metrics()["lever_places"], places)

    def test_answers_that_run_may_end_before_the_program_does(self):
        with Server(*SLOW, "--parallel", 1) as s:
            running, waiting = [], []
            self.assertEqual(s.call("/lever/status").json["flash_best_bytes_per_s"], 30e6)
            a = threading.Thread(target=lambda: running.append(s.chat(max_tokens=12, temperature=0)))
            a.start()
            s.wait_metric("lever_answers_running", 1)
            b = threading.Thread(target=lambda: waiting.append(s.chat(max_tokens=12)))
            b.start()
            s.wait_metric("lever_answers_queued", 1)
            code, lines = s.end(signal.SIGTERM)
            a.join()
            b.join()
            self.assertEqual(code, OK, lines)
            self.assertEqual(running[0].status, 200, running[0].body)
            self.assertEqual(running[0].json["usage"]["completion_tokens"], 12)
            self.assertEqual((waiting[0].status, waiting[0].error["code"]), (503, "shutting_down"))

    def test_answers_that_take_too_long_end_with_an_error_event(self):
        for sig in (signal.SIGINT, signal.SIGTERM):
            with Server(*SLOW, "--grace", 0) as s, s.socket() as c:
                c.sendall(post("/v1/chat/completions", {"messages": DOG, "stream": True, "ignore_eos": True}))
                head = c.recv(4096)
                self.assertIn(b"200 OK", head)
                code, lines = s.end(sig)
                rest = b""
                while piece := c.recv(65536):
                    rest += piece
                self.assertEqual(code, OK, lines)
                self.assertIn(b'"code":"shutting_down"', rest)
                self.assertNotIn(b"[DONE]", rest)

    def test_a_second_signal_ends_it_at_once(self):
        s = Server(*SLOW, "--grace", 100)
        with s.socket() as c:
            c.sendall(post("/v1/chat/completions", {"messages": DOG, "stream": True, "ignore_eos": True}))
            c.recv(4096)
            s.process.send_signal(signal.SIGINT)
            s.wait_line("ending")
            code, _ = s.end(signal.SIGINT)
            self.assertEqual(code, CANCEL)
        s.process.stderr.close()

    def test_curl_can_ask(self):
        import shutil
        import subprocess

        if not shutil.which("curl"):
            self.skipTest("curl is not installed")
        with Server() as s:
            body = json.dumps({"messages": DOG, "max_tokens": 8, "stream": True, "temperature": 0})
            out = subprocess.run(
                [
                    "curl",
                    "-sSN",
                    s.url + "/v1/chat/completions",
                    "-H",
                    "Content-Type: application/json",
                    "-d",
                    body,
                ],
                capture_output=True,
                timeout=100,
            )
            self.assertEqual((out.returncode, out.stderr), (0, b""))
            self.assertEqual(text_of(events(out.stdout)), s.say(max_tokens=8, temperature=0))


if __name__ == "__main__":
    import sys

    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
