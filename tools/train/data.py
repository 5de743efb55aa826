# SPDX-License-Identifier: MIT
"""Corpus archives to clean documents, per domain, with a fixed held-out split.

    python data.py --shared ../shared --work tools/train/out

writes WORK/docs/<domain>.<split>.jsonl, one JSON string per line. The split of a
document follows a hash of its text (novels: of the book, code: of the file), so it
is the same on every machine. Left out on purpose: gsm8k's example_model_solutions,
because its questions are the benchmark's test set.
"""

import argparse
import ast
import hashlib
import json
import os
import random
import re
import tarfile

DOMAINS = ["stories", "storychat", "chat", "math", "code", "novels"]
HELD_OUT = 0.02
MAX_CHARS = 1700  # about 512 tokens
MAX_CODE = 2600


def archive(shared, name):
    """Yields (member path, text) of corpus/<name>.tar.xz."""
    with tarfile.open(os.path.join(shared, "corpus", name + ".tar.xz"), "r:xz") as tar:
        for m in sorted(tar.getmembers(), key=lambda m: m.name):
            if m.isfile():
                yield m.name, tar.extractfile(m).read().decode("utf-8-sig", "replace")


def ascii_marks(s):
    """Curly quotes, dashes and their twice-encoded forms to ASCII; unix line ends."""
    for a, b in [
        ("\u00e2\u20ac\u2122", "'"),
        ("\u00e2\u20ac\u02dc", "'"),
        ("\u00e2\u20ac\u0153", '"'),
        ("\u00e2\u20ac\u201c", " - "),
        ("\u00e2\u20ac\u201d", " - "),
        ("\u00e2\u20ac\u00a6", "..."),
        ("\u00e2\u20ac\u009d", '"'),
        ("\u00e2\u20ac", '"'),
        ("\u2018", "'"),
        ("\u2019", "'"),
        ("\u201c", '"'),
        ("\u201d", '"'),
        ("\u2013", "-"),
        ("\u2014", " - "),
        ("\u2026", "..."),
        ("\u00a0", " "),
        ("\r\n", "\n"),
        ("\ufffd", ""),
    ]:
        s = s.replace(a, b)
    return s


def key_of(s):
    return re.sub("[^a-z]", "", s.lower())[:80]


def held_out(key, share=HELD_OUT):
    return int(hashlib.sha1(key.encode()).hexdigest()[:8], 16) / 2**32 < share


def chatml(*turns):
    """User and assistant in turn."""
    names = ["user", "assistant"]
    return "\n".join(f"<|im_start|>{names[i % 2]}\n{t.strip()}<|im_end|>" for i, t in enumerate(turns))


# ---- stories ----------------------------------------------------------------

SENTENCE_END = re.compile(r'[.!?]["\']?$')


def proper_words(texts):
    """Words that are mostly capitalised inside sentences of cased text: names."""
    upper, lower = {}, {}
    for t in texts:
        words = t.split()
        for before, w in zip(words, words[1:]):
            bare = re.sub(r"('s)?[^A-Za-z']*$", "", w.lstrip('"'))
            if not bare.isalpha() or SENTENCE_END.search(before) or w[0] == '"':
                continue
            table = upper if bare[0].isupper() else lower
            table[bare.lower()] = table.get(bare.lower(), 0) + 1
    return {w for w, n in upper.items() if n > 2 * lower.get(w, 0) and len(w) > 1}


def truecase(text, names):
    """Capitals for lower-case text: sentence starts, speech, 'I', known and introduced names."""
    names = names | set(re.findall(r"\bnamed (\w+)", text))
    out = []
    for para in text.split("\n\n"):
        words, start = para.split(), True
        for i, w in enumerate(words):
            core = re.match(r"""(["'(]*)(\w+)(.*)""", w)
            if core:
                pre, word, post = core.groups()
                if start or '"' in pre or word in names or word == "i":
                    word = word[0].upper() + word[1:]
                words[i] = pre + word + post
            start = bool(re.search(r'[.!?]$', w)) or (
                bool(re.search(r'[.!?]"$', w))
                and not re.match(
                    r"(said|asked|says|cried|he|she|they|replied|shouted|and)\b", (words[i + 1 :] or ["x"])[0]
                )
            )
        out.append(" ".join(words))
    return "\n\n".join(out)


def stories(shared):
    """Cased copies first, then the lower-case file recased; one copy of each story."""
    cased, plain = [], []
    for name, text in archive(shared, "tinystories"):
        text = ascii_marks(text)
        if "<|endoftext|>" in text:
            cased += [re.sub(r"\s*\n\s*", "\n\n", s.strip()) for s in text.split("<|endoftext|>")[:-1]]
        else:
            parts = [s.strip() for s in re.split(r"(?<!\n)\n(?!\n)", text)][:-1]
            (cased if sum(p[:1].isupper() for p in parts) > len(parts) / 2 else plain).extend(parts)
    names = proper_words(cased)
    seen = set()
    for s in cased + [truecase(p, names) for p in plain]:
        s = re.sub(r"[^\x00-\x7f]", "", s).strip()
        good = len(s) > 200 and s[0].isupper() and SENTENCE_END.search(s)
        if good and key_of(s) not in seen:
            seen.add(key_of(s))
            yield key_of(s), s


ASKS = [
    "Tell me a story about {}.",
    "Can you tell me a story about {}?",
    "Write a short story about {}.",
    "I want to hear a story about {}.",
    "Please tell me a short story about {}.",
    "Tell me about {}.",
]


def story_chat(key, s, rng):
    """The story as the answer to a request built from its hero's name, or None."""
    m = re.search(r"\b(?:an?|the) ((?:\w+ ){0,2}?\w+) (?:named|called) ([A-Z]\w+)", s[:400])
    if not m:
        m2 = re.match(
            r"(?:Once upon a time|One day|Once),? there (?:was|lived) (an? (?:\w+ ){0,2}?\w+)[.,]", s
        )
        if not m2:
            return None
        about = m2.group(1)
    else:
        article = "an" if m.group(1)[0] in "aeiou" else "a"
        about = rng.choice(
            [f"{article} {m.group(1)} named {m.group(2)}", f"{article} {m.group(1)}", m.group(2)]
        )
    return chatml(rng.choice(ASKS).format(about), s)


# ---- the other domains ------------------------------------------------------


def dialogues(shared, rng):
    for name, text in archive(shared, "sgd_dialogues"):
        if "LICENSE" in name:
            continue
        for d in re.split(r"\n\s*\n", ascii_marks(text)):
            turns = re.findall(r"^(?:User|Assistant): (.*)$", d, re.M)
            if len(turns) >= 4 and d.startswith("User:"):
                yield key_of(d), d.strip() if rng.random() < 0.05 else chatml(*turns)


def problems(shared, rng):
    for name, text in archive(shared, "gsm8k_train"):
        if not name.endswith("train.jsonl"):
            continue
        for line in text.splitlines():
            r = json.loads(line)
            q = ascii_marks(r["question"]).strip()
            a = re.sub(r"<<.*?>>", "", ascii_marks(r["answer"]))
            a = re.sub(r"\n#### (.*)", r"\nThe answer is \1.", a).strip()
            yield key_of(q), chatml(q, a) if rng.random() < 0.75 else f"Question: {q}\nAnswer: {a}"


def functions(shared, rng):
    for name, text in archive(shared, "thealgorithms_python"):
        if not name.endswith(".py"):
            continue
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            continue
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                src = ast.get_source_segment(text, node) or ""
                if 80 < len(src) < MAX_CODE and src.isascii():
                    kind = "function" if isinstance(node, ast.FunctionDef) else "class"
                    about = (ast.get_docstring(node) or "").split("\n\n")[0].split(">>>")[0].split()
                    ask = f"Write a Python {kind} {node.name}. {' '.join(about[:40])}".strip()
                    yield name, chatml(ask, f"```python\n{src}\n```") if rng.random() < 0.3 else src


def novels(shared, rng, share=0.12):
    for name, text in archive(shared, "english_novels"):
        if not name.endswith(".txt"):
            continue
        paras = [" ".join(p.split()) for p in re.split(r"\n\s*\n", ascii_marks(text))]
        doc = ""
        for p in paras:
            doc = doc + "\n\n" + p if doc else p
            if len(doc) > MAX_CHARS - 300:
                if rng.random() < share and len(doc) < 2 * MAX_CHARS:
                    yield os.path.basename(name), doc
                doc = ""


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--shared", default=os.environ.get("LEVER_SHARED", "../shared"))
    ap.add_argument("--work", default="tools/train/out")
    a = ap.parse_args()
    rng = random.Random(1)
    os.makedirs(os.path.join(a.work, "docs"), exist_ok=True)
    tales = list(stories(a.shared))
    source = {
        "stories": tales,
        "storychat": [(k, c) for k, s in tales if (c := story_chat(k, s, rng))],
        "chat": dialogues(a.shared, rng),
        "math": problems(a.shared, rng),
        "code": functions(a.shared, rng),
        "novels": novels(a.shared, rng),
    }
    for domain in DOMAINS:
        docs = {"train": [], "val": []}
        for key, text in source[domain]:
            docs["val" if held_out(key, 0.03 if domain == "novels" else HELD_OUT) else "train"].append(text)
        for split, items in docs.items():
            with open(os.path.join(a.work, "docs", f"{domain}.{split}.jsonl"), "w") as f:
                f.writelines(json.dumps(t) + "\n" for t in items)
        print(domain, {s: (len(d), sum(map(len, d))) for s, d in docs.items()})


if __name__ == "__main__":
    main()
