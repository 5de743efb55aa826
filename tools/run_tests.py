#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Build every variant and run its tests; the last line is 'N passed, N failed, N skipped'.

usage: run_tests.py [SECTION...]      default: all, in the order below

  dev          all tests, warnings are errors
  asan         address and undefined-behaviour sanitizers: everything but style
  tsan         thread sanitizer: what runs on several threads: reads, pool, device, forward, engine, server
  aarch64      64-bit Arm under qemu with every extension: unit, kcheck, equal
  aarch64-n1   kcheck of the same build on a core with dot products, but no more
  aarch64-a53  the same build on a core with NEON only: unit, kcheck, equal
  x86-haswell  x86-64 under qemu on a processor that ends at AVX2: unit, kcheck, equal
  x86-nehalem  the same build on one without AVX: unit, kcheck (whole texts would take ten minutes)
  clang        a second compiler; warnings are errors; build only

Exit 0 when nothing failed and every skip is listed in tests/expected_skips.txt.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[1]
JOBS = str(os.cpu_count() or 1)

# section: (preset, extra configure arguments, label pattern or None for all, test pattern); what stands in
# CPUS runs on that processor of qemu
SECTIONS = {
    "dev": ("dev", ["-DLEVER_WERROR=ON"], None, None),
    "asan": ("asan", [], "^(unit|fuzz|io|fault|golden|kcheck|device|equal|e2e)$", None),
    "tsan": ("tsan", [], "^(unit|io|golden|equal|fault|e2e)$",
             "pool|cpu|[^s]io|stream|logits|forward|llama-q8|engine_fault|turns|helper|test_ahead|"
             "serve_(queue|threads)"),
    "aarch64": ("aarch64", [], "^(unit|kcheck|equal)$", None),
    "aarch64-n1": ("aarch64", [], "^kcheck$", None),
    "aarch64-a53": ("aarch64", [], "^(unit|kcheck|equal)$", None),
    "x86-haswell": ("x86-qemu", [], "^(unit|kcheck|equal)$", None),
    "x86-nehalem": ("x86-qemu", [], "^(unit|kcheck)$", None),
    "clang": (None, ["-G", "Ninja", "-DCMAKE_C_COMPILER=clang", "-DCMAKE_BUILD_TYPE=Release",
                     "-DLEVER_WERROR=ON"], None, None),
}
CPUS = {"aarch64": "max", "aarch64-n1": "neoverse-n1", "aarch64-a53": "cortex-a53",
        "x86-haswell": "Haswell", "x86-nehalem": "Nehalem"}


class Totals:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, 0, 0
        self.problems = []


def heading(text):
    print(f"\n=== {text} ===", flush=True)


def run(command, env=None):
    print("+ " + " ".join(command), flush=True)
    return subprocess.run(command, cwd=ROOT, env=env).returncode


def expected_skips():
    """{(section, test): reason}; section may be '*'."""
    skips = {}
    for line in (ROOT / "tests/expected_skips.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            section, test, reason = line.split(None, 2)
            skips[section, test] = reason
    return skips


def build(section):
    preset, extra, _, _ = SECTIONS[section]
    out = f"build/{preset or section}"
    configure = ["cmake", "--preset", preset] if preset else ["cmake", "-S", ".", "-B", out]
    if run([*configure, *extra, "-Wno-dev"]):
        return False
    return run(["cmake", "--build", out, "-j", JOBS]) == 0


def ctest_command(section, junit):
    preset, _, labels, tests = SECTIONS[section]
    command = ["ctest", "--preset", preset, "-j", JOBS, "--no-tests=error", "--output-junit", str(junit)]
    if labels:
        command += ["-L", labels]
    if tests:
        command += ["-R", tests]
    # The thread sanitizer of older compilers can not cope with much address randomisation.
    randomise_off = ["setarch", os.uname().machine, "-R"]
    if section == "tsan" and shutil.which("setarch"):
        if subprocess.run([*randomise_off, "true"]).returncode == 0:
            command = randomise_off + command
    return command


def count(section, junit, skips, totals):
    """Add the results of one ctest run; returns (passed, failed, skipped)."""
    passed = failed = skipped = 0
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        name, status = case.get("name"), case.get("status")
        if status == "run":
            passed += 1
        elif case.find("skipped") is not None:
            skipped += 1
            reason = skips.get((section, name)) or skips.get(("*", name))
            print(f"skipped: {name}: {reason or 'UNEXPECTED'}")
            if not reason:
                totals.problems.append(f"{section}: {name} was skipped, which nothing expects")
        else:
            failed += 1
            totals.problems.append(f"{section}: {name} failed")
    totals.passed += passed
    totals.failed += failed
    totals.skipped += skipped
    return passed, failed, skipped


def test(section, skips, totals):
    junit = ROOT / "build" / f"ctest-{section}.xml"
    junit.unlink(missing_ok=True)
    env = {**os.environ, "CTEST_OUTPUT_ON_FAILURE": "1"}
    if section in CPUS:
        env["QEMU_CPU"] = CPUS[section]
    rc = run(ctest_command(section, junit), env=env)
    if not junit.is_file():
        totals.failed += 1
        totals.problems.append(f"{section}: ctest made no report (exit {rc})")
        return
    passed, failed, skipped = count(section, junit, skips, totals)
    if rc and not failed:
        totals.failed += 1
        totals.problems.append(f"{section}: ctest exit {rc}")
    print(f"{section}: {passed} passed, {failed} failed, {skipped} skipped")


def main():
    wanted = sys.argv[1:] or list(SECTIONS)
    unknown = [s for s in wanted if s not in SECTIONS]
    if unknown:
        print(f"unknown section {unknown[0]}; known: {' '.join(SECTIONS)}", file=sys.stderr)
        return 2
    skips, totals = expected_skips(), Totals()
    for section in wanted:
        begin = time.monotonic()
        heading(f"{section}: build")
        if not build(section):
            totals.failed += 1
            totals.problems.append(f"{section}: build failed")
            continue
        if SECTIONS[section][0]:
            heading(f"{section}: test")
            test(section, skips, totals)
        else:
            totals.passed += 1
        print(f"{section}: {time.monotonic() - begin:.0f} s")
    heading("summary")
    for text in totals.problems:
        print(text)
    print(f"{totals.passed} passed, {totals.failed} failed, {totals.skipped} skipped", flush=True)
    return 1 if totals.problems else 0


if __name__ == "__main__":
    sys.exit(main())
