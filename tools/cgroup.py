"""A memory cgroup that kills: for tests and benchmarks that run a program under a hard limit.

Version 1 or 2, without swap; needs the right to make one. SPDX-License-Identifier: MIT
"""

import os
import pathlib

V1, V2 = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")


class Cgroup:
    """Of `limit` bytes; an OSError where none can be made; removed at the end of a with block."""

    def __init__(self, limit):
        self.is_v1 = (V1 / "memory.limit_in_bytes").exists()
        self.path = (V1 if self.is_v1 else V2) / f"lever-{os.getpid()}"
        self.limit = limit

    def __enter__(self):
        self.path.mkdir()
        try:
            if self.is_v1:
                self.write("memory.limit_in_bytes", self.limit)
                if (self.path / "memory.memsw.limit_in_bytes").exists():
                    self.write("memory.memsw.limit_in_bytes", self.limit)
            else:
                self.write("memory.max", self.limit)
                if (self.path / "memory.swap.max").exists():
                    self.write("memory.swap.max", 0)
        except OSError:
            self.path.rmdir()
            raise
        return self

    def __exit__(self, *_):
        self.path.rmdir()

    def write(self, name, value):
        (self.path / name).write_text(f"{value}\n")

    def kills(self):
        """How many processes the kernel has killed in it."""
        name = "memory.oom_control" if self.is_v1 else "memory.events"
        lines = dict(line.split() for line in (self.path / name).read_text().splitlines())
        return int(lines.get("oom_kill", 0))

    def run(self, command, out):
        """Run `command` inside, stdout to the file `out`; returns (exit code or -signal, its resource usage)."""
        pid = os.fork()
        if pid == 0:
            try:
                self.write("cgroup.procs", os.getpid())
                fd = os.open(out, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, 0)
                os.dup2(fd, 1)
                os.dup2(null, 2)
                os.execv(command[0], [str(a) for a in command])
            finally:
                os._exit(127)
        _, status, usage = os.wait4(pid, 0)
        return os.waitstatus_to_exitcode(status), usage
