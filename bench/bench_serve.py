#!/usr/bin/env python3
"""lever serve on the grown pair: several conversations at once, cached prefixes, what serving itself costs.

One conversation at a time on a server with one place, then the same questions, several at once, on a server
with that many places; speeds count while every place has a question. Every text must be the one `lever run` gives
alone with the same seed. bench_grown.py makes the pair. With --soak: many thousand short requests to the demo
pair, every third one left by its client, and how the resident set grows over them.

usage: bench_serve.py LEVER [--target F] [--draft F] [--mem SIZE] [--parallel N] [--prompts N] [--tokens N]
                      [--csv FILE]
       bench_serve.py LEVER --soak [--requests N]
Ends with one line per bar: BAR <name> <measured> <goal> ok|short
SPDX-License-Identifier: MIT
"""

import argparse
import concurrent.futures
import datetime
import http.client
import json
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from bench_demo import append_csv, commit, machine
from bench_grown import KINDS, ROOT, default_cache

SEED = 11


class Server:
    def __init__(self, *args):
        self.process = subprocess.Popen(
            [str(a) for a in (*args, "--port", 0, "--no-learn")], stderr=subprocess.PIPE, text=True
        )
        self.port, lines = None, []
        for line in self.process.stderr:
            lines.append(line)
            match = re.search(r"serving .* at http://127.0.0.1:(\d+)", line)
            if match:
                self.port = int(match[1])
                break
        if not self.port:
            sys.exit("".join(lines))
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=3600)

    def get(self, path):
        c = self.connection()
        c.request("GET", path)
        body = c.getresponse().read()
        c.close()
        return body

    def ask(self, messages, **fields):
        """Streams an answer: text, seconds to the first text and to the end, usage, statistics."""
        body = {"messages": messages, "stream": True, "stream_options": {"include_usage": True}, **fields}
        c = self.connection()
        begin, first, text, last = time.perf_counter(), None, "", None
        c.request("POST", "/v1/chat/completions", json.dumps(body))
        r = c.getresponse()
        if r.status != 200:
            sys.exit(f"status {r.status}: {r.read().decode()}")
        for line in r:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            for choice in chunk["choices"]:
                piece = choice["delta"].get("content")
                if piece and first is None:
                    first = time.perf_counter() - begin
                text += piece or ""
            last = chunk
        wall = time.perf_counter() - begin
        c.close()
        times = {"begin": begin, "first": first or wall, "wall": wall}
        return {"text": text, **times, "usage": last["usage"], **last["lever"]}


def questions(n):
    files = [[json.loads(line) for line in open(ROOT / f"bench/prompts/{k}.jsonl")] for k in KINDS]
    records = [files[i % len(files)][i // len(files)] for i in range(n)]
    return [r.get("prompt") or r["turns"][0] for r in records]


def alone(a, asked):
    """What lever run gives for each, on its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        f.write("".join(json.dumps({"turns": [q]}) + "\n" for q in asked))
        f.flush()
        cmd = [
            a.lever,
            "run",
            *models(a),
            "--seed",
            SEED,
            "-n",
            a.tokens,
            "--ignore-eos",
            "--no-learn",
            "--json",
        ]
        out = subprocess.run(
            [str(c) for c in (*cmd, "--prompts", f.name)], stdout=subprocess.PIPE, check=True
        )
    return [json.loads(line)["text"].strip() for line in out.stdout.splitlines()]


def models(a):
    return ["-m", a.target, "-md", a.draft, "--mem", a.mem, "-c", a.ctx]


def answer_all(s, a, asked, at_once):
    """Every question, so many at a time. Returns the answers and tokens a second while every place had one."""
    fields = {"seed": SEED, "max_tokens": a.tokens, "ignore_eos": True}
    s.ask([{"role": "user", "content": "Hello!"}], **fields)  # policies learn what things cost: not counted
    begin = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        got = list(pool.map(lambda q: s.ask([{"role": "user", "content": q}], **fields), asked))
    # Questions are taken in order: places run empty from the first end on that no question follows.
    ends = sorted(x["begin"] + x["wall"] for x in got)
    seconds = ends[len(got) - at_once] - begin
    tokens = 0
    for x in got:
        share = (begin + seconds - x["begin"] - x["first"]) / (x["wall"] - x["first"] or 1)
        tokens += x["usage"]["completion_tokens"] * min(1, max(0, share))
    return got, tokens / seconds


def cached_prefix(s, a, asked):
    """Seconds to the first token of a talk that goes on, in sweeps of the same answer."""
    shares = []
    for q in asked[:3]:
        talk = [{"role": "user", "content": q}]
        fields = {"seed": SEED, "max_tokens": a.tokens, "ignore_eos": True}
        first = s.ask(talk, **fields)
        again = s.ask(talk, **fields)  # the whole prompt is there but its last token
        sweep = again["decode_s"] / again["sweeps"]
        shares.append(again["first"] / sweep)
        if again["text"] != first["text"]:
            sys.exit("the cached prefix gives another text")
    return statistics.median(shares)


def overhead(answers):
    """Time of an answer outside of the engine, per token, as a share of a cycle."""
    shares = []
    for r in answers:
        cycle = r["decode_s"] / r["sweeps"]
        shares.append((r["wall"] - r["prefill_s"] - r["decode_s"]) / r["usage"]["completion_tokens"] / cycle)
    return statistics.median(shares)


def bench(a):
    asked = questions(a.prompts)
    want = alone(a, asked)
    s = Server(a.lever, "serve", *models(a), "--parallel", 1)
    one, one_speed = answer_all(s, a, asked, 1)
    prefix, cost = cached_prefix(s, a, asked), overhead(one)
    s.stop()
    s = Server(a.lever, "serve", *models(a), "--parallel", a.parallel)
    many, many_speed = answer_all(s, a, asked, a.parallel)
    s.stop()
    times = many_speed / one_speed
    same = sum(x["text"].strip() == w and y["text"].strip() == w for x, y, w in zip(one, many, want))
    print(
        f"\n{machine()}; {pathlib.Path(a.target).name}, limit {a.mem}, {a.prompts} answers of {a.tokens} tokens\n"
    )
    print(f"one at a time        {one_speed:8.2f} tokens/s")
    print(f"{a.parallel} at a time          {many_speed:8.2f} tokens/s  ({times:.2f}x)")
    print(f"first token, cached  {prefix:8.2f} sweeps")
    print(f"serving, per token   {100 * cost:8.3f} % of a cycle")
    row = [
        datetime.date.today().isoformat(),
        commit(),
        machine(),
        pathlib.Path(a.target).name,
        a.mem,
        a.parallel,
    ]
    row += [
        a.prompts,
        a.tokens,
        f"{one_speed:.4f}",
        f"{many_speed:.4f}",
        f"{prefix:.3f}",
        f"{cost:.6f}",
        same,
    ]
    append_csv(
        a.csv,
        "date commit machine target mem parallel prompts tokens one_tokens_per_s many_tokens_per_s "
        "first_token_sweeps overhead_per_token same_texts",
        [row],
    )
    bar("serve_same_texts", same, a.prompts, same == a.prompts, "d")
    bar("serve_concurrent_speedup", times, 2.5, times >= 2.5, ".2f")
    bar("serve_cached_first_token_sweeps", prefix, 1.2, prefix <= 1.2, ".2f")
    bar("serve_overhead_percent_of_cycle", 100 * cost, 1.0, cost < 0.01, ".3f")


def bar(name, value, goal, good, form):
    print(f"BAR {name} {value:{form}} {goal:{form}} {'ok' if good else 'short'}")


# ---- soak


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def soak_client(s, n, seed, done):
    rng = random.Random(seed)
    words = "a dog|the sea|two children|a lost key|rain|an old house|a robot|the moon".split("|")
    for _ in range(n):
        body = {
            "messages": [
                {"role": "user", "content": f"Tell me about {rng.choice(words)} {rng.randrange(40)}."}
            ]
        }
        body.update(max_tokens=rng.randrange(1, 24), stream=rng.random() < 0.7, seed=rng.randrange(1000))
        if rng.random() < 0.2:
            body.update(logprobs=True, top_logprobs=rng.randrange(21))
        if rng.random() < 0.1:
            body = {"messages": "wrong"}
        c = s.connection()
        c.request("POST", "/v1/chat/completions", json.dumps(body))
        if rng.random() < 1 / 3:
            time.sleep(rng.random() * 0.1)
            c.close()  # in the queue, in the prompt, in the middle of the answer, or just after it
        else:
            c.getresponse().read()
            c.close()
        done.append(1)


def slope(points):
    """KiB for 1000 requests, by least squares."""
    n, mx, my = len(points), *(statistics.mean(p[i] for p in points) for i in (0, 1))
    rise = sum((x - mx) * (y - my) for x, y in points) / sum((x - mx) ** 2 for x, _ in points)
    return 1000 * rise, n


def soak(a):
    s = Server(a.lever, "serve", "--parallel", 4, "--connections", 32, "--quiet")
    done, points, clients = [], [], 6
    threads = [
        threading.Thread(target=soak_client, args=(s, a.requests // clients, i, done)) for i in range(clients)
    ]
    for t in threads:
        t.start()
    begin = time.perf_counter()
    while any(t.is_alive() for t in threads):
        time.sleep(0.25)
        points.append((len(done), resident(s.process.pid)))
    spent = time.perf_counter() - begin
    time.sleep(1)
    metrics = s.get("/metrics").decode()
    s.stop()
    late = [p for p in points if p[0] > a.requests // 3]  # caches and arenas have their size by then
    grown, n = slope(late)
    total = late[-1][1] - late[0][1]
    left = float(re.search(r'answers_total\{end="client_left"\} (\d+)', metrics)[1])
    running = float(re.search(r"lever_answers_running (\d+)", metrics)[1])
    print(f"{len(done)} requests in {spent:.0f} s, {left:.0f} left by their clients")
    print(f"resident {late[-1][1] / 1024:.1f} MiB")
    print(f"grown by {total} KiB over the last two thirds ({n} samples)")
    bar("serve_soak_kib_per_1000_requests", grown, 20.0, grown <= 20, ".2f")
    bar("serve_soak_answers_left_running", int(running), 0, running == 0, "d")


def main():
    cache = default_cache()
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("lever", type=pathlib.Path)
    p.add_argument("--target", default=cache / "lever-demo-target.qwen3-8b.Q4_0.gguf")
    p.add_argument("--draft", default=cache / "lever-demo-draft.qwen3-0.6b.Q4_0.gguf")
    p.add_argument("--mem", default="3GiB")
    p.add_argument("--ctx", type=int, default=1024)
    p.add_argument("--parallel", type=int, default=4)
    p.add_argument("--prompts", type=int, default=12)
    p.add_argument("--tokens", type=int, default=96)
    p.add_argument("--csv", default=str(ROOT / "bench/results/serve.csv"))
    p.add_argument("--soak", action="store_true")
    p.add_argument("--requests", type=int, default=12000)
    a = p.parse_args()
    soak(a) if a.soak else bench(a)


if __name__ == "__main__":
    main()
