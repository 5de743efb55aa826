#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fit the exit predictor of the demo target on text that it writes itself.

    fit_demo.py LEVER [--text-only] [options of lever fit]

The openings below are made up here, word by word from small lists; bench/prompts, which benchmarks measure
with, and corpora take no part. The target continues each of them, half greedily, half at temperature 0.8. The
text goes to build/fit-demo.txt; `lever fit` makes models/lever-demo-target.Q8_0.exit.gguf of it.
"""

import json
import pathlib
import random
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PER_KIND, TOKENS = 64, 256  # openings of each kind and temperature; tokens written after each at most

NAMES = "Lily Tim Sara Max Anna Tom Mia Sam Lucy Jack Emma Ned Rosa Finn Ella Bo Zoe Ravi Kim Otto".split()
ANIMALS = "cat dog bird rabbit frog bear duck mouse fox pony turtle bee".split()
PLACES = "park,forest,garden,beach,kitchen,school,farm,river,old barn,big city,zoo,library".split(",")
THINGS = "ball,red hat,shiny stone,kite,box,cake,little boat,blue cup,drum,toy car,book,lamp".split(",")
MOODS = "happy sad brave curious sleepy hungry proud scared".split()
FOODS = "apples cookies oranges eggs cupcakes bananas pears muffins".split()
GOODS = "pencils,books,shirts,tickets,marbles,stickers,chairs,bottles of water".split(",")
TOWNS = "San Jose,Oakland,Fremont,Berkeley,San Francisco,Palo Alto,Santa Rosa,Napa".split(",")
MEALS = "Italian,Mexican,Chinese,Indian,Thai,French".split(",")
VERBS = "find,count,sort,reverse,merge,remove,check,split,convert,compute".split(",")
NOUNS = "numbers,words,list,string,tree,graph,matrix,primes,digits,items,queue,array".split(",")


def story(r):
    who, other, animal = r.choice(NAMES), r.choice(NAMES), r.choice(ANIMALS)
    place, thing, mood = r.choice(PLACES), r.choice(THINGS), r.choice(MOODS)
    return r.choice(
        [
            f"Once upon a time, there was a {mood} {animal} named {who}.",
            f"One day, {who} and {other} went to the {place}. They saw a {thing}",
            f"{who} was a {mood} little {animal} who lived near the {place}.",
            f"There was once a {thing} that nobody wanted. {who} found it in the {place}.",
            f"\"Look!\" said {who}. \"There is a {thing} in the {place}!\"",
            f"{who} had a {thing}. It was very big and {who} liked to",
            f"In the {place} lived a {animal}. Every day the {animal} felt {mood} because",
        ]
    )


def chat(r):
    who, animal, thing, place = r.choice(NAMES), r.choice(ANIMALS), r.choice(THINGS), r.choice(PLACES)
    return r.choice(
        [
            f"Tell me a story about a {animal} named {who}.",
            f"Can you write a short story about {who} and a {thing}?",
            f"I want to find a {r.choice(MEALS)} restaurant in {r.choice(TOWNS)}.",
            f"Can you book a table for {r.randint(2, 6)} in {r.choice(TOWNS)} at {r.randint(5, 9)} pm?",
            f"What is the weather like in {r.choice(TOWNS)} today?",
            f"I need a bus from {r.choice(TOWNS)} to {r.choice(TOWNS)} tomorrow morning.",
            f"Please tell me about a day at the {place} with {who}.",
            f"I am looking for some music to play. Do you know a song about the {place}?",
            f"Find me a doctor in {r.choice(TOWNS)}, please.",
        ]
    )


def math(r):
    who, other, food, goods = r.choice(NAMES), r.choice(NAMES), r.choice(FOODS), r.choice(GOODS)
    a, b, c = r.randint(2, 40), r.randint(2, 12), r.randint(2, 30)
    return r.choice(
        [
            f"{who} has {a} {food} and buys {c} more. {other} takes {b} of them. How many {food} are left?",
            f"A shop sells {goods} for ${b} each. {who} buys {a} of them. How much does {who} pay?",
            f"{who} packs {a} boxes with {b} {goods} in each, then gives {c} away. How many {goods} remain?",
            f"{who} is {b} years older than {other}, who is {c}. How old are they together?",
            f"There are {a} {food} in a basket. {who} eats {b} a day for 2 days. How many {food} are left?",
            f"{who} saves ${b} each week for {a} weeks and spends ${c}. How much money does {who} have?",
        ]
    )


def code(r):
    verb, noun, n = r.choice(VERBS), r.choice(NOUNS), r.randint(1, 9)
    return r.choice(
        [
            f"def {verb}_{noun}({noun}: list) -> list:\n    \"\"\"\n",
            f"def {verb}_{noun}(n: int) -> int:\n    \"\"\"\n    >>> {verb}_{noun}({n})\n",
            f"class {noun.title()}:\n    def __init__(self",
            f"def is_{noun}(x: str) -> bool:\n",
            f"from __future__ import annotations\n\n\ndef {verb}_{noun}(",
            f"def {verb}_all({noun}: list, limit: int = {n}) -> int:\n    \"\"\"\n    {verb.title()} the",
        ]
    )


def openings(seed):
    r = random.Random(seed)
    for make in (story, chat, math, code):
        for i in range(PER_KIND):
            turn = "turns" if make in (chat, math) else "prompt"
            text = make(r)
            yield {"id": f"{make.__name__}-{seed}-{i}", turn: [text] if turn == "turns" else text}


def write_text(lever, path):
    """Documents, each ended by the end-of-text token."""
    documents = []
    for seed, temperature in ((1, 0), (2, 0.8)):
        todo = list(openings(seed))
        prompts = path.with_suffix(".jsonl")
        prompts.write_text("".join(json.dumps(p) + "\n" for p in todo))
        command = [lever, "run", "--prompts", str(prompts), "--json", "-q", "-n", str(TOKENS)]
        command += ["--temp", str(temperature), "--seed", str(seed)]
        lines = subprocess.run(command, check=True, capture_output=True).stdout.splitlines()
        answers = [json.loads(line)["text"] for line in lines]
        for p, answer in zip(todo, answers, strict=True):
            if "turns" in p:
                asked = f"<|im_start|>user\n{p['turns'][0]}<|im_end|>\n<|im_start|>assistant\n"
                documents.append(asked + answer + "<|im_end|>")
            else:
                documents.append(p["prompt"] + answer)
    random.Random(0).shuffle(documents)  # kinds in turn, as a tenth of the text is held out
    path.write_text("".join(d + "<|endoftext|>" for d in documents))


def main():
    lever, rest = sys.argv[1], sys.argv[2:]
    path = ROOT / "build" / "fit-demo.txt"
    path.parent.mkdir(exist_ok=True)
    write_text(lever, path)
    print(f"{path}: {path.stat().st_size} bytes of text", flush=True)
    if "--text-only" in rest:
        return 0
    out = ROOT / "models" / "lever-demo-target.Q8_0.exit.gguf"
    effort = ["--positions", "65536", "--steps", "2000"]
    return subprocess.run([lever, "fit", "--text", str(path), "-o", str(out), *effort, *rest]).returncode


if __name__ == "__main__":
    sys.exit(main())
