"""A terminal for tests: a program on a pty, and a small screen that shows what one would see.

SPDX-License-Identifier: MIT
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time


class Screen:
    """Cursor movements and erasing as of xterm, for a screen that is high enough: it never scrolls.

    rows[y][x] is a character with its style, numbers as of SGR ("", "1", "2;33"); what is unknown is kept in `odd`.
    """

    SEQUENCE = re.compile(r"\x1b\[([?\d;]*)([@-~])|\x1b[()][A-Z0-9]|\x1b[=>78MDE]")

    def __init__(self, cols):
        self.cols, self.rows, self.x, self.y, self.style, self.odd = cols, [[]], 0, 0, "", []

    def put(self, c):
        if self.x >= self.cols:
            self.x, self.y = 0, self.y + 1
        self.reach()
        self.padded()[self.x : self.x + 1] = [(c, self.style)]
        self.x += 1

    def reach(self):
        """There are rows down to the cursor."""
        while len(self.rows) <= self.y:
            self.rows.append([])

    def padded(self):
        """The cursor's row, which reaches to the cursor."""
        row = self.rows[self.y]
        row += [(" ", "")] * (self.x - len(row))
        return row

    def colour(self, arg):
        for part in arg.split(";"):
            self.style = "" if part in ("", "0") else (self.style + ";" + part).lstrip(";")

    def move(self, n, key):
        n = max(n, 1)
        if key in "AB":
            self.y = max(0, self.y + (n if key == "B" else -n))
        else:
            self.x = min(self.cols - 1, max(0, self.x + (n if key == "C" else -n)))
        self.reach()

    def sequence(self, arg, key):
        n = int(arg) if arg.isdigit() else 0
        row = self.rows[self.y]
        if key in "ABCD":
            self.move(n, key)
        elif key == "G":
            self.x = max(n, 1) - 1
        elif key == "K" and n == 0:
            del row[self.x :]
        elif key == "J" and n == 0:
            del row[self.x :], self.rows[self.y + 1 :]
        elif key == "P":
            del row[self.x : self.x + max(n, 1)]
        elif key == "@":
            self.padded()[self.x : self.x] = [(" ", self.style)] * max(n, 1)
            del row[self.cols :]
        elif key == "m":
            self.colour(arg)
        elif arg in ("?2004", "?1", "?25", "?12", "4"):
            pass
        else:
            self.odd.append((arg, key))

    def feed(self, text):
        at = 0
        while at < len(text):
            c = text[at]
            m = self.SEQUENCE.match(text, at) if c == "\x1b" else None
            at = m.end() if m else at + 1
            if m:
                self.sequence(m[1], m[2]) if m[2] else None
            elif c == "\r":
                self.x = 0
            elif c == "\n":
                self.y += 1
                self.reach()
            elif c == "\b":
                self.x = max(0, min(self.x, self.cols) - 1)
            elif c == "\t":
                self.x = min(self.cols - 1, self.x // 8 * 8 + 8)
            elif c >= " " and c != "\x7f":
                self.put(c)
            elif c != "\x07":
                self.odd.append(c)
        return self

    def lines(self):
        return ["".join(c for c, _ in row).rstrip() for row in self.rows]


class Terminal:
    """A program whose controlling terminal is a pty."""

    def __init__(self, argv, env, cols=80, rows=24):
        self.cols, self.out, self.read_to = cols, "", 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
            os.execve(argv[0], argv, env)
        self.bytes = b""

    def modes(self):
        """What the program may change of the terminal."""
        a = termios.tcgetattr(self.fd)
        return a[0], a[1], a[3]

    def send(self, text):
        os.write(self.fd, text.encode())

    def read(self, timeout):
        if not select.select([self.fd], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # the other side is closed
            return False
        self.bytes += data
        self.out = self.bytes.decode(errors="replace")
        return bool(data)

    def until(self, pattern, timeout=60):
        """Wait until the pattern comes behind what was waited for last; returns the text up to it."""
        end = time.monotonic() + timeout
        while True:
            m = re.compile(pattern).search(self.out, self.read_to)
            if m:
                text = self.out[self.read_to : m.end()]
                self.read_to = m.end()
                return text
            if not self.read(max(0, min(1, end - time.monotonic()))) and time.monotonic() > end:
                raise AssertionError(f"no {pattern!r} in {self.out[self.read_to:]!r}")

    def quiet(self, seconds=0.3):
        """Wait until nothing comes for a while; returns what came since the last wait."""
        while self.read(seconds):
            pass
        text = self.out[self.read_to :]
        self.read_to = len(self.out)
        return text

    def last(self, n):
        """The last n lines of the screen that are not empty."""
        return [x for x in Screen(self.cols).feed(self.out).lines() if x][-n:]

    def resize(self, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, cols, 0, 0))

    def signal(self, number):
        os.kill(self.pid, number)

    def stopped(self):
        """Wait until the program has stopped itself."""
        return os.WIFSTOPPED(os.waitpid(self.pid, os.WUNTRACED)[1])

    def end(self, timeout=60):
        """Wait for the end; returns the exit code, or minus the signal."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                self.quiet(0.05)
                return os.waitstatus_to_exitcode(status)
        raise AssertionError("the program goes on")

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)
