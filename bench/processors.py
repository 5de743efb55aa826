#!/usr/bin/env python3
"""Where the host runs the processors of a virtual machine: near each other or apart.

A processor of many chiplets has a cache and a path to memory for each of them. A host moves the processors of its
guests about as it likes: on one chiplet a byte goes there and back in 0.1 us and both share 50 GB/s; on two it takes
0.4 us and they have 80 GB/s (AMD Zen 5). A large model in memory is faster apart, one of a few MB near. Nothing
in the guest says which it is, but the time of a round trip shows it.

usage: processors.py: print it once a second
SPDX-License-Identifier: MIT
"""

import mmap
import os
import select
import statistics
import time


def round_trip(batches=40, n=100):
    """Seconds in which a byte goes from the first processor to the last and back; the least of some batches, as
    others may be running. 0 with one processor."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        return 0.0
    byte = mmap.mmap(-1, mmap.PAGESIZE)
    child = os.fork()
    if child == 0:
        os.sched_setaffinity(0, {cpus[-1]})
        for i in range(batches * n):
            while byte[0] != 2 * i % 256 + 1:
                pass
            byte[0] = (2 * i + 2) % 256
        os._exit(0)
    os.sched_setaffinity(0, {cpus[0]})
    best = float("inf")
    for b in range(batches):
        begin = time.perf_counter()
        for i in range(b * n, (b + 1) * n):
            byte[0] = 2 * i % 256 + 1
            while byte[0] != (2 * i + 2) % 256:
                pass
        best = min(best, (time.perf_counter() - begin) / n)
    os.waitpid(child, 0)
    os.sched_setaffinity(0, set(cpus))
    return best


class Processors:
    """Keeps work near: idle processors of a guest come together soon, busy ones are moved apart after seconds."""

    APART = 1.5  # times the least round trip

    def __init__(self):
        time.sleep(2)
        self.least = min(round_trip() for _ in range(5))

    def near(self, seconds):
        """Always, where all processors have the same way to each other."""
        self.least = min(self.least, seconds)
        return seconds <= self.APART * self.least

    def gather(self, patience):
        """Wait until they are near."""
        end = time.monotonic() + patience
        while not self.near(round_trip()) and time.monotonic() < end:
            time.sleep(1)

    def held(self, work, tries, share=0.8, patience=20):
        """What work() returns with processors that are near for at least `share` of its time, and that share: the best
        of some tries."""
        best = None
        for _ in range(tries):
            self.gather(patience)
            with Watch() as watch:
                result = work()
            of_it = watch.share(self.near)
            if best is None or of_it > best[1]:
                best = result, of_it
            if of_it >= share:
                break
        return best


class Watch:
    """Round trips beside what is done within: before it, every other second, and after it."""

    EVERY = 2.0

    def __enter__(self):
        self.first = round_trip()
        self.out, out = os.pipe()
        stop, self.stop = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            os.close(self.stop)
            while not select.select([stop], [], [], self.EVERY)[0]:
                os.write(out, f"{round_trip(batches=10, n=50)}\n".encode())
            os._exit(0)
        os.close(out)
        os.close(stop)
        return self

    def __exit__(self, *_):
        last = round_trip()
        os.close(self.stop)
        with os.fdopen(self.out) as f:
            self.samples = [self.first, *map(float, f.read().split()), last]
        os.waitpid(self.child, 0)

    def share(self, near):
        return statistics.mean(map(near, self.samples))


def main():
    while True:
        print(f"round trip {1e9 * round_trip():.0f} ns", flush=True)
        time.sleep(1)


if __name__ == "__main__":
    main()
