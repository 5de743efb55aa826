#!/usr/bin/env python3
"""`lever chat` as people use it: through pipes, and on a pty. Standard library only.

usage: test_chat.py LEVER MKMODEL WORK_DIR [unittest options]
SPDX-License-Identifier: MIT
"""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import unittest

from cli import CANCEL, FORMAT, IO, LEVER, LIMIT, OK, SANITIZED, UNSUP, USAGE, WORK, CliTest, lever, make
from terminal import Terminal

GREEN, YELLOW, CYAN = "32m", "33m", "36m"
SLOW = ("--mem", "28MiB", "--flash-limit", "30MB")  # an answer takes seconds


def chat(text, *args, **kw):
    """Talk through pipes; returns (exit code, answers, talk on standard error)."""
    code, out, err = lever("chat", *args, stdin=text.encode(), **kw)
    return code, out.decode(), err


class Piped(CliTest):
    def test_each_line_is_a_message_and_only_answers_come_out(self):
        code, out, err = chat(
            "Tell me a story about a dog.\n\n  \nI want a restaurant.\n", "--temp", 0, "-n", 24
        )
        self.assertEqual(code, OK, err)
        self.assertNotIn("\x1b", out + err)
        self.assertNotIn(">", out + err)
        path = WORK / "two.jsonl"
        path.write_text(json.dumps({"turns": ["Tell me a story about a dog.", "I want a restaurant."]}))
        _, want, _ = lever("run", "--prompts", path, "--temp", 0, "-n", 24, "--json")
        self.assertEqual(out, "".join(json.loads(x)["text"] + "\n" for x in want.splitlines()))

    def test_lines_go_on_with_a_backslash_and_in_a_block(self):
        def messages(text):
            file = WORK / "lines.json"
            code, _, err = chat(text + f"/save {file}\n", "-n", 1)
            self.assertEqual(code, OK, err)
            return [m["content"] for m in json.loads(file.read_text())["messages"] if m["role"] == "user"]

        self.assertEqual(messages("one\\\ntwo\nthree\n"), ["one\ntwo", "three"])
        self.assertEqual(messages('"""\none\n\n  two\n"""\nthree\r\n'), ["one\n\n  two", "three"])
        self.assertEqual(messages('"""one"""\n//help\n'), ["one", "/help"])
        file = WORK / "cut.json"  # the pipe ends inside a block: what is there counts
        chat('"""\none\ntwo', "-n", 1)
        self.assertEqual(chat('"""\none', "-n", 4, "--temp", 0)[1], chat("one\n", "-n", 4, "--temp", 0)[1])
        self.assertFalse(file.exists())

    def test_invalid_utf8_is_mended(self):
        file = WORK / "mended.json"
        code, _, err = lever("chat", "-n", 1, stdin=b"caf\xe9 \xc3\xa9\xff\n/save " + str(file).encode())
        self.assertEqual(code, OK, err)
        self.assertEqual(json.loads(file.read_text())["messages"][0]["content"], "caf\ufffd \u00e9\ufffd")

    def test_a_saved_talk_goes_on_as_if_it_had_not_ended(self):
        first, second = "Tell me a story about a cat named Tom.\n", "And then?\n"
        args = ("-n", 24, "--seed", 5)
        file = WORK / "talk.json"
        _, whole, _ = chat(first + second, *args)
        code, begin, err = chat(f"{first}/save {file}\n", *args)
        self.assertEqual((code, err.count("saved 2 messages")), (OK, 1))
        talk = json.loads(file.read_text())
        self.assertEqual(talk["model"], "lever-demo-target.Q8_0.gguf")
        self.assertEqual(talk["settings"]["seed"], 5)
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        for text, options in ((f"/load {file}\n{second}", ()), (second, ("--load", file))):
            code, rest, err = chat(text, "-n", 24, *options)  # the seed comes with the talk
            self.assertEqual((code, begin + rest), (OK, whole), err)
            self.assertIn("loaded 2 messages", err)

    def test_garbage_is_not_loaded_and_the_talk_goes_on(self):
        file = WORK / "garbage.json"
        for text, why in (
            ("hello", "line 1"),
            ("{}", "lever_talk"),
            ('{"lever_talk": 1, "messages": [7]}', "role"),
        ):
            file.write_text(text)
            code, out, err = chat(f"/load {file}\nHello\n", "-n", 4)
            self.assertEqual(code, FORMAT)
            self.assertIn("garbage.json' is no talk", err)
            self.assertIn(why, err)
            self.assertTrue(out.strip())
            self.assertEqual(chat("Hello\n", "--load", file)[0], FORMAT)
        self.assertEqual(chat("/load\n")[0], USAGE)
        self.assertEqual(chat("/load /no/such/file\n")[0], IO)
        self.assertEqual(chat("/save /no/such/folder/file\n")[0], IO)

    def test_commands_set_and_show(self):
        lines = "/seed 7|/seed|/temp 0|/temp|/system Be brief.|/system|/system -|/stats|/help|/quit|Hello|"
        code, out, err = chat(lines.replace("|", "\n"))
        self.assertEqual((code, out), (OK, ""))
        self.assertEqual(err.count("seed 7\n"), 2)
        self.assertEqual(err.count("temperature 0\n"), 2)
        self.assertEqual(err.count("system: Be brief.\n"), 2)
        self.assertIn("no system message\n", err)
        self.assertIn("context: 0 of 1024 tokens", err)
        for bad in ("/klingon", "/seed x", "/seed -1", "/temp warm", "/temp -1", "/think maybe", "/draft 1"):
            code, out, err = chat(f"{bad}\n")
            self.assertEqual((code, out), (USAGE, ""), bad)
            self.assertEqual(err.count("\n"), 1)

    def test_settings_have_effect(self):
        ask = "Tell me a story about a cat named Tom.\n"
        cold = chat(ask, "--temp", 0, "-n", 16)[1]
        self.assertEqual(chat("/temp 0\n" + ask, "-n", 16)[1], cold)
        self.assertEqual(chat("/seed 3\n" + ask, "-n", 16)[1], chat(ask, "--seed", 3, "-n", 16)[1])
        self.assertNotEqual(chat(ask, "--seed", 3, "-n", 16)[1], chat(ask, "--seed", 4, "-n", 16)[1])
        self.assertEqual(chat("/system x\n/system -\n" + ask, "--temp", 0, "-n", 16)[1], cold)
        system = chat(ask, "--system", "You are a pirate.", "--temp", 0, "-n", 16)[1]
        self.assertEqual(chat("/system You are a pirate.\n" + ask, "--temp", 0, "-n", 16)[1], system)
        self.assertNotEqual(system, cold)
        two = chat(ask + "/reset\n" + ask, "--temp", 0, "-n", 16)[1]
        self.assertEqual(two, cold + cold)

    def test_a_second_question_evaluates_only_what_is_new(self):
        _, _, err = chat("Tell me a story about a cat named Tom.\nAnd then?\n/stats\n", "-n", 40, "--temp", 0)
        kept = int(re.search(r"kept from earlier: (\d+)", err)[1])
        new = int(re.search(r"evaluated before it: (\d+)", err)[1])
        self.assertGreater(kept, 50)
        self.assertLess(new, 20)

    def test_a_talk_longer_than_the_context_is_refused_and_the_program_goes_on(self):
        code, out, err = chat("word " * 200 + "\nHello\n", "-c", 64, "-n", 4)
        self.assertEqual(code, LIMIT)
        self.assertIn("does not fit the context of 64", err)
        self.assertEqual(out.count("\n"), 1)
        code, out, err = chat("Tell me a story.\n", "-c", 32, "--temp", 0)
        self.assertEqual(code, OK)
        self.assertIn("the context is full", err)

    def test_nobody_reads_the_answers(self):
        p = subprocess.Popen(
            [LEVER, "chat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        p.stdout.close()
        p.stdin.write(b"Tell me a story.\n")
        p.stdin.close()
        self.assertIn(b"can not be written", p.stderr.read())
        p.stderr.close()
        self.assertEqual(p.wait(60), IO)

    def test_ctrl_c_ends_a_piped_talk(self):
        p = subprocess.Popen(
            [LEVER, "chat", *SLOW], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        p.stdin.write(b"Tell me a story about a dog.\nAnother one.\n")
        p.stdin.flush()
        said = p.stdout.read(8)
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(60), CANCEL)
        self.assertTrue(said)
        self.assertIn(b"(stopped)", p.stderr.read())
        for f in (p.stdin, p.stdout, p.stderr):
            f.close()


class Forms(CliTest):
    def test_an_unknown_template_is_named_and_another_can_be_chosen(self):
        odd = make("odd.gguf", "--chat-template", "<|im_start|>user<|im_sep|>{{ m }}<|im_end|>")
        turns = WORK / "hello.jsonl"
        turns.write_text(json.dumps({"turns": ["hello"]}))
        for code, _, err in (chat("hi\n", "-m", odd), lever("run", "-m", odd, "--prompts", turns, "-n", 2)):
            self.assertEqual(code, UNSUP)
            self.assertIn("<|im_start|>, <|im_sep|>, <|im_end|>", err)
            self.assertIn("--chat-template", err)
        self.assertEqual(chat("hi\n", "-m", odd, "--chat-template", "plain", "-n", 2)[0], OK)
        self.assertEqual(
            lever("run", "-m", odd, "--prompts", turns, "-n", 2, "--chat-template", "plain")[0], OK
        )
        code, _, err = chat("hi\n", "-m", odd, "--chat-template", "chatml", "-n", 2)
        self.assertEqual(code, FORMAT)
        self.assertIn("'<|im_start|>', which is no token of this model", err)

    def test_a_wrong_name_lists_the_right_ones_before_anything_is_loaded(self):
        for command in ("chat", "run", "bench"):
            code, _, err = lever(command, "-m", "/no/such/model", "--chat-template", "klingon", stdin=b"")
            self.assertEqual(code, USAGE)
            self.assertIn("'klingon'; known: chatml, ", err)
        self.assertEqual(chat("", "-m", "/no/such/model", "--think", "maybe")[0], USAGE)

    def test_plain_is_a_transcript_and_ends_where_the_user_would_speak(self):
        code, out, err = chat("Hello\n/stats\n", "-m", self.model, "--temp", 0, "-n", 5)  # it has no template
        self.assertEqual(code, OK, err)
        self.assertIn("form: plain", err)
        _, want, _ = lever(
            "run", "-m", self.model, "-p", "User: Hello\n\nAssistant:", "--temp", 0, "-n", 5, "--json"
        )
        new = json.loads(want)["text"][len("User: Hello\n\nAssistant:") :]
        self.assertEqual(out.strip("\n "), new.strip("\n "))

    def test_thinking_is_switched_by_the_form(self):
        def evaluated(*args):
            _, _, err = chat("Hello\n/stats\n", "--chat-template", "qwen3", "-n", 2, *args)
            return int(re.search(r"evaluated before it: (\d+)", err)[1])

        self.assertEqual(evaluated("--think", "hide"), evaluated())
        self.assertGreater(evaluated("--think", "off"), evaluated())
        self.assertIn("no switch", chat("/think off\n")[2])


class Terminals(CliTest):
    def setUp(self):
        self.state = WORK / "state" / self.id().split(".")[-1]
        history = self.history()
        if history.exists():
            history.unlink()

    def history(self):
        return self.state / "lever" / "chat-history"

    def open(self, *args, cols=80, **env):
        env = {k: v for k, v in {**os.environ, **env}.items() if v is not None}
        env = {
            "TERM": "xterm",
            "XDG_STATE_HOME": str(self.state),
            "XDG_CACHE_HOME": str(WORK / "cache"),
            **env,
        }
        env.pop("NO_COLOR", None) if "NO_COLOR" not in os.environ else None
        t = Terminal([LEVER, "chat", "--temp", "0", *map(str, args)], env, cols)
        self.addCleanup(t.close)
        t.found = t.modes()
        t.until("leaves.")
        self.prompt(t)
        return t

    def prompt(self, t):
        """Wait until a line can be typed."""
        text = t.until(r"\x1b\[\?2004h[^\n]*?> ?(\x1b\[0m)? ?")
        return text + t.quiet()

    def messages(self, t):
        file = self.state / "talk.json"
        t.send(f"/save {file}\r")
        t.until(r"saved \d+ messages")
        self.prompt(t)
        return [m["content"] for m in json.loads(file.read_text())["messages"]]

    def leave(self, t):
        t.send("\x04")
        self.assertEqual(t.end(), OK)

    def test_a_line_is_edited_and_the_last_ones_come_back(self):
        t = self.open("-n", 2)
        t.send("Hallo wrld\x1b[D\x1b[D\x1b[Do\x01\x1b[C\x1b[3~e\x05!\r")  # left, home, right, delete, end
        self.prompt(t)
        t.send("\u65e5\u672c \u00e9x\x7f\r")  # wide and two-byte characters, backspace
        self.prompt(t)
        self.assertEqual(self.messages(t)[0::2], ["Hello world!", "\u65e5\u672c \u00e9"])
        t.send("\x1b[A\x1b[A\x1b[A")
        t.quiet()
        self.assertEqual(t.last(1)[0], "> Hello world!")
        t.send("\x1b[B?\r")
        self.prompt(t)
        self.assertEqual(self.messages(t)[4], "\u65e5\u672c \u00e9?")
        self.leave(t)
        self.assertEqual(stat.S_IMODE(self.history().stat().st_mode), 0o600)
        t = self.open("-n", 2)  # the next time
        t.send("\x1b[A\x1b[A")
        t.quiet()
        self.assertEqual(t.last(1)[0], "> \u65e5\u672c \u00e9?")
        t.send("\x12Hello")  # search backwards
        t.quiet()
        t.send("\r")
        self.prompt(t)
        self.assertEqual(self.messages(t)[0], "Hello world!")
        self.leave(t)

    def test_several_lines_are_one_message(self):
        t = self.open("-n", 2)
        t.send("one\x1b\rtwo\r")  # Alt-Enter
        self.prompt(t)
        t.send("\x1b[200~three\rfour\n\x07five\x1b[201~ six\r")  # pasted
        self.prompt(t)
        t.send("seven\\\r")
        t.until(r"\. ?")
        t.send("eight\r")
        self.prompt(t)
        t.send('"""\r')
        t.until(r"\. ?")
        t.send('nine\rten"""\r')
        self.prompt(t)
        want = ["one\ntwo", "three\nfour\nfive six", "seven\neight", "nine\nten"]
        self.assertEqual(self.messages(t)[0::2], want)
        t.send("\x1b[A\x1b[A\x1b[A")  # such a message comes back whole
        t.quiet()
        self.assertEqual(t.last(2), ["> seven", "eight"])
        t.send("\x03")
        self.prompt(t)
        self.leave(t)

    def test_a_tab_completes_commands(self):
        t = self.open()
        t.send("/se\t")  # /seed only
        t.quiet()
        self.assertEqual(t.last(1)[0], "> /seed")
        t.send("9\r")
        t.until("seed 9")
        t.send("/s\t\x15no / here\t\r")
        self.prompt(t)
        self.leave(t)

    def test_ctrl_c_clears_a_line_and_twice_leaves(self):
        t = self.open()
        t.send("not this")
        t.quiet()
        t.send("\x03")
        self.prompt(t)
        self.assertEqual(t.last(1)[0], ">")
        t.send("nor this")
        t.quiet()
        t.send("\x03")
        self.prompt(t)
        t.send("one\\\r")
        t.until(r"\. ?")
        t.send("\x03")  # the first line of two goes, too
        self.prompt(t)
        self.assertEqual(self.messages(t), [])
        t.send("\x03")
        t.until("Ctrl-C again")
        self.prompt(t)
        self.assertEqual(self.messages(t), [])  # what comes between makes it the first again
        t.send("\x03")
        t.until("Ctrl-C again")
        self.prompt(t)
        t.send("\x03")
        self.assertEqual(t.end(), CANCEL)
        self.assertEqual(t.modes(), t.found)
        self.assertTrue(t.out.rstrip().endswith("\x1b[?2004l"))

    def test_ctrl_c_stops_an_answer_and_keeps_the_talk(self):
        t = self.open(*SLOW)
        t.send("Tell me a story about a dog.\r")
        t.until("dog\\..*\n")
        t.until("[a-z]{4}")
        t.send("\x03")
        t.until(r"\(stopped\)")
        self.prompt(t)
        said = self.messages(t)
        self.assertEqual(len(said), 2)
        self.assertTrue(said[1])
        t.send("And a cat?\r")
        t.until("cat\\?.*\n")
        t.until("[a-z]{3}")
        t.send("\x03")
        t.until(r"\(stopped\)")
        self.prompt(t)
        self.assertEqual(self.messages(t)[:2], said)
        t.send("/stats\r")
        peak, limit = re.search(r"memory: ([\d.]+) MiB of ([\d.]+) MiB", t.until(r"memory: .*\n")).groups()
        if not SANITIZED:
            self.assertLessEqual(float(peak), float(limit))
        self.leave(t)
        self.assertEqual(t.modes(), t.found)

    def test_what_is_typed_during_an_answer_waits_for_the_next_line(self):
        t = self.open(*SLOW, "-n", "64")  # what follows an answer that was stopped may not end by itself
        t.send("Tell me a story about a dog.\r")
        t.until("dog\\..*\n")
        t.until("[a-z]{4}")
        t.send("and a CAT\x03")  # the answer ends, and what was typed is gone as in a line
        answer = t.until(r"\(stopped\)")
        self.assertNotIn("CAT", answer)
        self.assertRegex(answer, r"[^\n]\r*\n\(stopped\)")
        self.prompt(t)
        self.assertEqual(t.last(2), ["(stopped)", ">"])
        t.send("Tell me a story about a cat.\r")
        t.until("cat\\..*\n")
        t.until("[a-z]{4}")
        t.send("/seed 7\r/seed 8")
        answer = t.until("/seed 8")
        self.assertRegex(answer, r"(?s)\n\r*\n.*>.*/seed 7\r*\n.*seed 7\r*\n")
        self.assertEqual(t.last(1), ["> /seed 8"])
        t.send("\x15")
        t.quiet()
        self.leave(t)
        self.assertEqual(t.modes(), t.found)

    def test_ctrl_d_while_an_answer_comes_leaves_after_it(self):
        for term in ("xterm", "dumb"):  # with line editing and without
            for keys, answers in (("\x04", 1), ("And a cat?\r\x04", 2)):
                with self.subTest(term=term, keys=keys):
                    env = {**os.environ, "TERM": term, "XDG_STATE_HOME": str(self.state)}
                    t = Terminal([LEVER, "chat", "--temp", "0", "-n", "12", "--policy", "none", *SLOW], env)
                    self.addCleanup(t.close)
                    t.until("leaves.")
                    t.quiet()
                    t.send("Tell me a story about a dog.\r")
                    t.until("dog\\..*\n")
                    t.until("[a-z]{4}")
                    t.send(keys)
                    self.assertEqual(t.end(), OK)
                    self.assertEqual(t.out.count("(stopped: that is what -n allows)"), answers)

    def test_ctrl_c_before_the_first_word_takes_the_question_back(self):
        t = self.open(*SLOW)
        t.send("Tell me a story about a dog.\r")
        t.until("dog.\r*\n")
        t.send("\x03")
        t.until(r"\(stopped\)")
        self.prompt(t)
        self.assertIn(len(self.messages(t)), (0, 2))  # 2: the word was faster
        self.leave(t)

    def test_signals_find_the_terminal_restored(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            t = self.open()
            self.assertNotEqual(t.modes(), t.found)
            t.signal(number)
            self.assertEqual(t.end(), -number)
            self.assertEqual(t.modes(), t.found)
            self.assertIn("\x1b[?2004l", t.out)
        t = self.open()
        t.send("hal")
        t.quiet()
        editing = t.modes()
        t.signal(signal.SIGTSTP)
        self.assertTrue(t.stopped())
        self.assertEqual(t.modes(), t.found)
        t.signal(signal.SIGCONT)
        t.until(">.*hal")  # the line is there again
        self.assertEqual(t.modes(), editing)
        t.send("\x7f\x7f\x7f/seed 4\r")
        t.until("seed 4")
        self.prompt(t)
        self.leave(t)

    def test_tokens_are_coloured_by_how_they_came(self):
        ask = "Tell me a story about a cat named Tom.\r"
        t = self.open("--show-draft", "-n", 30)
        self.assertRegex(t.out, f"{GREEN}drafted.*{CYAN}free candidate.*{YELLOW}target")
        t.send(ask)
        answer = self.prompt(t)
        self.assertIn(GREEN, answer)
        self.assertIn(YELLOW, answer)
        t.send("/draft off\r")
        t.until("draft off")
        self.prompt(t)
        t.send("Go on.\r")
        self.assertNotIn(GREEN, self.prompt(t))
        self.leave(t)
        t = self.open("--show-draft", "-n", 30, "--draft", "none")
        t.send(ask)
        answer = self.prompt(t)
        self.assertIn(YELLOW, answer)
        self.assertNotIn(GREEN, answer)
        self.leave(t)
        t = self.open("--show-draft", "-n", 30, "--draft", "lookup")
        t.send("Say: one two three one two three one two three one two three\r")
        answer = self.prompt(t)
        self.assertNotIn(GREEN, answer)
        self.leave(t)

    def test_no_colour_where_nobody_wants_it(self):
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            env = {"TERM": "xterm", "XDG_STATE_HOME": str(self.state), **os.environ, **env}
            t = Terminal([LEVER, "chat", "--temp", "0", "-n", "20", "--show-draft"], env)
            self.addCleanup(t.close)
            t.until("leaves.")
            t.until("> ")
            t.send("Tell me a story.\r")
            t.until("Tell me a story.")
            t.until("> ")
            self.assertNotRegex(t.out, r"\x1b\[[\d;]*m")
            t.send("\x04")
            self.assertEqual(t.end(), OK)

    def test_without_editing_lines_are_read_as_the_terminal_gives_them(self):
        env = {**os.environ, "TERM": "dumb"}
        t = Terminal([LEVER, "chat", "-n", "2"], env)
        self.addCleanup(t.close)
        t.until("> ")
        t.send("\x03")
        t.until("Ctrl-C again")
        t.until("> ")
        t.send("Hello\r")
        t.until("Hello")
        t.until("> ")
        t.send("/stats\r")
        t.until("talk: 1 answers")
        t.until("> ")
        t.send("\x03")
        t.until("> ")
        t.send("\x03")
        self.assertEqual(t.end(), CANCEL)

    def test_forty_columns_are_enough(self):
        t = self.open("-n", 20, cols=40)
        t.send("/help\r")
        self.prompt(t)
        t.send("Tell me a story.\r")
        self.prompt(t)
        t.send("/stats\r")
        self.prompt(t)
        lines = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", t.out).replace("\r", "").split("\n")
        ours = [
            x
            for x in lines
            if x.startswith(("/", "  ", "talk", "last", "context", "policy", "form", "memory"))
        ]
        self.assertGreater(len(ours), 15)
        self.assertEqual([x for x in ours if len(x) > 40], [])
        t.send("this is a message which is longer than a line of this screen\x01X\x05!")
        t.quiet()
        self.assertEqual(t.last(2), ["> Xthis is a message which is longer tha", "n a line of this screen!"])
        t.send("\x01\x0b")  # everything goes
        t.quiet()
        self.assertEqual(t.last(1)[0], ">")
        self.leave(t)

    def test_nothing_a_model_writes_drives_the_terminal(self):
        # A random model writes random bytes, control characters among them.
        env = {"TERM": "xterm", "XDG_STATE_HOME": str(self.state), **os.environ}
        t = Terminal(
            [
                LEVER,
                "chat",
                "-m",
                str(self.model),
                "--temp",
                "3",
                "--top-k",
                "0",
                "--top-p",
                "1",
                "--min-p",
                "0",
                "-n",
                "400",
                "--seed",
                "2",
            ],
            env,
        )
        self.addCleanup(t.close)
        t.until("it has none")
        self.prompt(t)
        t.send("Hello\r")
        t.until("Hello")
        answer = self.prompt(t)
        self.assertRegex(answer, r"\\x1b|\\x0[0-8]")
        answer = re.sub(r"\x1b\[(\?2004[hl]|[\d;]*[mJKCD])|\x1b\[H", "", answer)
        self.assertEqual(re.findall(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", answer.replace("\x1b", "")), [])
        self.assertNotIn("\x1b", answer.split("> ")[0])
        t.send("\x04")
        t.end()

    def test_a_new_size_is_noticed(self):
        t = self.open("-n", 2, cols=80)
        t.send("hello")
        t.quiet()
        t.resize(30)
        t.signal(signal.SIGWINCH)
        t.until(">.*hello")
        t.send("x" * 30)
        text = t.quiet()
        self.assertRegex(text, "(?<!x)x{23}[^x]")  # the program breaks the line at column 30
        t.send("\x03")
        self.prompt(t)
        self.leave(t)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]] + sys.argv[4:], verbosity=1)
