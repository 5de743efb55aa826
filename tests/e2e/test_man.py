# SPDX-License-Identifier: MIT
"""The man page and the completions are what the program says, they render, and shells understand them."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import cli
from terminal import Screen, Terminal

MAKE_MAN = cli.ROOT / "tools/make_man.py"
SHARE = cli.ROOT / "share"

# A program that has one command more, and one option that no committed file knows.
NEW_PROGRAM = r"""#!/bin/sh
case "$1 $2" in
    "--help "*) "%s" --help | sed 's/^  chat .*/&\n  ponder     think about a file/' ;;
    "ponder --help") cat <<'END'
usage: lever ponder FILE [options]

Thinks. It's done when it is done.

depth
  -d, --depth N               how deep; default 3
  --an-option-with-a-long-name FILE
                              where the \thoughts go: it's a list,
                              .one to a line
  -h, --help                  this page
END
    ;;
    *) exec "%s" "$@" ;;
esac
"""


def make_man(*args):
    p = subprocess.run([sys.executable, "-B", MAKE_MAN, *map(str, args)], capture_output=True, text=True)
    return p.returncode, p.stdout + p.stderr


def need(program):
    if not shutil.which(program):
        raise unittest.SkipTest(f"{program} is not installed")


class Folder(unittest.TestCase):
    def setUp(self):
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        self.folder = pathlib.Path(tmp.name)
        for name in ("story.gguf", "a story.gguf", "notes.txt"):
            (self.folder / name).touch()
        (self.folder / "stories").mkdir()


class Generated(Folder):
    def test_committed_files_are_what_the_program_says(self):
        code, text = make_man("--check", cli.LEVER)
        self.assertEqual(code, 0, text)

    def test_a_stale_file_is_found(self):
        shutil.copytree(SHARE, self.folder / "share")
        page = self.folder / "share/man/lever.1"
        page.write_text(page.read_text().replace("lever chat", "lever prattle"))
        code, text = make_man("--check", cli.LEVER, self.folder / "share")
        self.assertEqual(code, 1)
        self.assertIn("lever.1 is not what the program says: make man", text)
        (self.folder / "share/completion/_lever").unlink()
        self.assertIn("_lever", make_man("--check", cli.LEVER, self.folder / "share")[1])
        self.assertEqual(make_man(cli.LEVER, self.folder / "share")[0], 0)
        self.assertEqual(make_man("--check", cli.LEVER, self.folder / "share"), (0, ""))

    def test_new_commands_come_by_themselves(self):
        program = self.folder / "lever"
        program.write_text(NEW_PROGRAM % (cli.LEVER, cli.LEVER))
        program.chmod(0o755)
        code, text = make_man(program, self.folder / "share")
        self.assertEqual(code, 0, text)
        page = (self.folder / "share/man/lever.1").read_text()
        self.assertIn(".SS lever ponder\nThink about a file.", page)
        self.assertIn("\\-\\-depth\\fR \\fIN\\fR\nhow deep; default 3", page)
        self.assertIn("where the \\ethoughts go: it\\(aqs a list,\n\\&.one to a line", page)
        for name in ("lever.bash", "_lever", "lever.fish"):
            text = (self.folder / "share/completion" / name).read_text()
            self.assertIn("an-option-with-a-long-name", text)
            self.assertIn("ponder", text)
        check_page(self, self.folder / "share/man/lever.1")

    def test_help_that_can_not_be_read_is_an_error(self):
        program = self.folder / "lever"
        odd = NEW_PROGRAM.replace("  -d, --depth N  ", "  -d --depth N   ")
        program.write_text(odd % (cli.LEVER, cli.LEVER))
        program.chmod(0o755)
        code, text = make_man(program, self.folder / "share")
        self.assertEqual(code, 1)
        self.assertIn("not an option: '  -d --depth N", text)
        self.assertFalse((self.folder / "share").exists())


def type_and_see(test, argv, env, keys, want):
    """Start a shell in the test's folder, type, and wait until the screen shows what is wanted."""
    base = {"HOME": str(test.folder), "PATH": os.environ["PATH"], "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    t = Terminal(["/usr/bin/env", "-C", str(test.folder), *argv], {**base, **env})
    test.addCleanup(t.signal, signal.SIGKILL)
    t.until("> ")
    for key in keys:
        t.send(key)
        if key == "\t":
            t.quiet()
    end = time.monotonic() + 60
    while not any(want in line for line in Screen(t.cols).feed(t.out).lines()):
        if not t.read(1) and time.monotonic() > end:
            test.fail(f"no {want!r} in {Screen(t.cols).feed(t.out).lines()}")


def check_page(test, page):
    """No warnings, whatever the width."""
    if shutil.which("groff"):
        for width in ("60n", "80n", "132n"):
            p = subprocess.run(
                ["groff", "-ww", "-man", "-Tutf8", f"-rLL={width}", page], capture_output=True, text=True
            )
            test.assertEqual((p.returncode, p.stderr), (0, ""), f"groff at {width}")
            test.assertTrue("EXIT STATUS" in re.sub(".\b", "", p.stdout))
    if shutil.which("mandoc"):
        p = subprocess.run(["mandoc", "-Tlint", "-Wwarning", page], capture_output=True, text=True)
        told = [x for x in p.stdout.split("\n") if x and "missing date" not in x]  # it would grow stale
        test.assertEqual(told, [])


class Page(Folder):
    def test_it_renders(self):
        if not shutil.which("groff") and not shutil.which("mandoc"):
            raise unittest.SkipTest("neither groff nor mandoc is installed")
        check_page(self, SHARE / "man/lever.1")

    def test_every_option_of_every_command_is_there(self):
        page = (SHARE / "man/lever.1").read_text().replace("\\-", "-").replace("\\fR", "").replace("\\fB", "")
        for name in ("run", "chat", "inspect", "eval", "fit", "bench", "profile", "grow"):
            for line in cli.lever(name, "--help")[1].decode().split("\n"):
                if line.startswith("  -") and "--help" not in line:
                    self.assertIn(line[2:30].split("  ")[0].split(" ")[0].rstrip(","), page, line)


class Installed(Folder):
    def test_it_runs_where_it_was_put(self):
        need("cmake")
        build, prefix = pathlib.Path(cli.LEVER).resolve().parent, self.folder / "usr"
        subprocess.run(["cmake", "--install", build, "--prefix", prefix], check=True, capture_output=True)
        for name in (
            "man/man1/lever.1",
            "bash-completion/completions/lever",
            "zsh/site-functions/_lever",
            "fish/vendor_completions.d/lever.fish",
        ):
            self.assertTrue((prefix / "share" / name).is_file(), name)
        self.assertTrue((prefix / "include/lever/device_plugin.h").is_file())
        p = subprocess.run(
            [prefix / "bin/lever", "inspect", "--json"], capture_output=True, text=True, cwd=self.folder
        )
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertIn("Lever demo target", p.stdout)  # found beside itself


class Bash(Folder):
    """A real bash is asked as readline would: the words in COMP_WORDS, the answers in COMPREPLY."""

    def complete(self, *words):
        quoted = " ".join("'" + w + "'" for w in words)
        script = f"""source '{SHARE}/completion/lever.bash'
            complete -p lever >/dev/null || exit 9
            COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}
            _lever; printf '%s\\n' "${{COMPREPLY[@]}}" """
        p = subprocess.run(
            ["bash", "--norc", "-c", script], capture_output=True, text=True, cwd=self.folder, timeout=60
        )
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        return sorted(x for x in p.stdout.split("\n") if x)

    def setUp(self):
        need("bash")
        super().setUp()

    def test_commands(self):
        self.assertEqual(self.complete("lever", "ru"), ["run"])
        self.assertEqual(self.complete("lever", "zzz"), [])
        for name in ("run", "chat", "inspect", "help"):
            self.assertIn(name, self.complete("lever", ""))

    def test_options(self):
        self.assertEqual(self.complete("lever", "run", "--poli"), ["--policy"])
        self.assertEqual(self.complete("lever", "run", "-m", "x.gguf", "--top"), ["--top-k", "--top-p"])
        self.assertEqual(self.complete("lever", "chat", "--show"), ["--show-draft"])
        self.assertEqual(self.complete("lever", "eval", "--show"), [])
        self.assertIn("--mem", self.complete("lever", "run", ""))

    def test_files(self):
        every = ["a story.gguf", "notes.txt", "stories", "story.gguf"]
        self.assertEqual(self.complete("lever", "run", "-m", ""), every)
        self.assertEqual(self.complete("lever", "run", "--model", "a s"), ["a story.gguf"])
        self.assertEqual(self.complete("lever", "run", "--model", "=", "story"), ["story.gguf"])
        self.assertEqual(self.complete("lever", "run", "--model", "="), every)
        self.assertEqual(self.complete("lever", "profile", "--dir", ""), ["stories"])
        self.assertEqual(self.complete("lever", "inspect", "story"), ["story.gguf"])
        self.assertEqual(self.complete("lever", "inspect", "--", "-"), [])

    def test_values_are_left_alone(self):
        self.assertEqual(self.complete("lever", "run", "--mem", ""), [])
        self.assertEqual(self.complete("lever", "inspect", "--mem", "s"), [])

    def test_at_a_terminal(self):
        """The whole way: bash reads the file, a Tab completes."""
        rc = self.folder / "rc"
        rc.write_text(f"source '{SHARE}/completion/lever.bash'\nPS1='> '\nbind 'set bell-style none'\n")
        argv = ["bash", "--rcfile", str(rc), "-i"]
        type_and_see(self, argv, {}, "lever ru\t--poli\tlever -m sto\t", "lever run --policy lever -m stor")


class Fish(Folder):
    def complete(self, line):
        need("fish")
        script = f"source {SHARE}/completion/lever.fish; complete -C '{line}'"
        env = {"HOME": str(self.folder), "PATH": "/usr/bin:/bin"}
        p = subprocess.run(
            ["fish", "-N", "-c", script], capture_output=True, text=True, cwd=self.folder, env=env
        )
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        return sorted(x.split("\t")[0] for x in p.stdout.split("\n") if x)

    def test_completion(self):
        self.assertEqual(self.complete("lever ru"), ["run"])
        self.assertEqual(self.complete("lever run --poli"), ["--policy"])
        self.assertEqual(self.complete("lever run -m sto"), ["stories/", "story.gguf"])
        self.assertEqual(self.complete("lever run --model=sto"), ["--model=stories/", "--model=story.gguf"])
        self.assertEqual(self.complete("lever run --mem "), [])
        self.assertEqual(self.complete("lever run sto"), [])
        self.assertEqual(self.complete("lever inspect sto"), ["stories/", "story.gguf"])


class Zsh(Folder):
    def test_at_a_terminal(self):
        need("zsh")
        rc = self.folder / ".zshrc"
        rc.write_text(
            f"fpath=({SHARE}/completion $fpath)\nautoload -U compinit\ncompinit -u -D\nPS1='> '\nunsetopt beep\n"
        )
        env = {"ZDOTDIR": str(self.folder)}
        keys = "lever ru\t--poli\tlever -m sto\t"
        type_and_see(self, ["zsh", "-d", "-i"], env, keys, "lever run --policy=lever -m stor")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
