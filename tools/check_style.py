#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""House style that a machine can check. Exit 0: clean, 1: errors; warnings do not fail.

usage: check_style.py [--build DIR] [ROOT]
  --build DIR   also look at DIR/liblever.a: symbol prefixes, no wide vectors outside the ISA kernels
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

FILE_WARN, FILE_FAIL = 600, 1200      # lines
FUNCTION_FAIL = 120                   # lines, braces included
COLUMNS_WARN, COLUMNS_FAIL = 110, 120
TEXT_SUFFIXES = {".c", ".h", ".cl", ".py", ".sh", ".js", ".css", ".html", ".cmake", ".md", ".txt", ".json", ".yml"}
CODE_SUFFIXES = {".c", ".h", ".cl", ".py", ".sh", ".js", ".css"}
TOPS = "include src apps examples share tests tools cmake docs bench .ci".split()


class Report:
    def __init__(self):
        self.errors, self.warnings = [], []

    def error(self, where, text):
        self.errors.append(f"{where}: {text}")

    def warn(self, where, text):
        self.warnings.append(f"{where}: warning: {text}")


def text_files(root):
    files = [p for p in root.iterdir() if p.is_file()]
    for top in TOPS:
        if (root / top).is_dir():
            files += [p for p in (root / top).rglob("*") if p.is_file()]
    for p in sorted(files):
        rel = p.relative_to(root).as_posix()
        if "__pycache__" in rel or rel.startswith("tools/train/out/"):
            continue
        if p.suffix in TEXT_SUFFIXES or p.name in {"Makefile", "run"}:
            yield rel, p


def check_text(r, rel, path):
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        r.error(rel, f"not UTF-8 at byte {e.start}")
        return
    if "/corpus/" in rel or "/golden/" in rel:
        return  # test data: any bytes, any width
    lines = text.split("\n")
    if raw and lines[-1] != "":
        r.error(rel, "no newline at the end")
    if len(lines) > 2 and lines[-1] == "" and lines[-2].strip() == "":
        r.error(rel, "blank line at the end")
    code = path.suffix in CODE_SUFFIXES or path.suffix == ".cmake"
    for n, line in enumerate(lines, 1):
        if line.endswith((" ", "\t", "\r")):
            r.error(f"{rel}:{n}", "white space at the end of the line")
        if "\t" in line and path.name != "Makefile":
            r.error(f"{rel}:{n}", "tab")
        if code and len(line) > COLUMNS_WARN:
            complain = r.error if len(line) > COLUMNS_FAIL else r.warn
            complain(f"{rel}:{n}", f"{len(line)} columns, the limit is {COLUMNS_WARN}")
    if path.suffix in CODE_SUFFIXES:
        if not any("SPDX-License-Identifier: MIT" in x for x in lines[:40]):
            r.error(rel, "no SPDX-License-Identifier: MIT in the file's head")
        if len(lines) > FILE_FAIL:
            r.error(rel, f"{len(lines)} lines, at most {FILE_FAIL}")
        elif len(lines) > FILE_WARN:
            r.warn(rel, f"{len(lines)} lines, more than {FILE_WARN}")


def check_functions(r, rel, path):
    """Bodies open and close with a brace in column 0, so no C parser is needed."""
    start, name = None, "?"
    before = ""
    for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line == "{":
            m = re.search(r"(\w+)\s*\(", before)
            start, name = n, m[1] if m else "?"
        elif line.startswith("}") and start:
            if n - start + 1 > FUNCTION_FAIL:
                r.error(f"{rel}:{start}", f"{name}() has {n - start + 1} lines, at most {FUNCTION_FAIL}")
            start, before = None, ""
        elif start is None and line and not line.startswith((" ", "/", "*")):
            before = line


def check_unique_names(r, root):
    """Kernel files only: the archive check below knows objects by their name."""
    seen = {p.name: p for p in (root / "src").rglob("*.c") if "kernel" not in p.parts}
    for path in sorted((root / "src/kernel").rglob("*.c")):
        other = seen.setdefault(path.name, path)
        if other != path:
            r.error(path.relative_to(root).as_posix(), f"same name as {other.relative_to(root).as_posix()}")


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True)


def check_headers_alone(r, root):
    jobs = [("C11", "c", "-std=c11", ["cc", "gcc", "clang"]), ("C++11", "c++", "-std=c++11", ["c++", "g++"])]
    for title, lang, std, compilers in jobs:
        cc = next((c for c in compilers if shutil.which(c)), None)
        if not cc:
            r.error("include/lever", f"no {title} compiler found to check the headers with")
            continue
        for path in sorted((root / "include").rglob("*.h")):
            rel = path.relative_to(root).as_posix()
            with tempfile.TemporaryDirectory() as tmp:
                unit = pathlib.Path(tmp) / f"alone.{'c' if lang == 'c' else 'cc'}"
                name = path.relative_to(root / "include").as_posix()
                unit.write_text(f'#include "{name}"\n#include "{name}"\nint lever_header_alone;\n')
                run = output_of(cc, "-x", lang, std, "-pedantic", "-Wall", "-Wextra", "-Werror",
                                "-fsyntax-only", f"-I{root / 'include'}", str(unit))
            if run.returncode:
                r.error(rel, f"does not compile alone as {title}:\n{run.stderr.strip()}")


def kernel_ops(header):
    """Names of the function pointers in struct lv_kernels."""
    body = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    m = re.search(r"typedef struct lv_kernels \{(.*?)\} lv_kernels;", body, re.S)
    if not m:
        return []
    return re.findall(r"\(\*(\w+)\)\s*\(", m[1]) + re.findall(r"\blv_\w+_fn\s+(\w+)\s*[\[;]", m[1])


def check_kernel_tests(r, root):
    header = root / "src/kernel/kernel.h"
    ops = kernel_ops(header.read_text(encoding="utf-8"))
    if not ops:
        r.error("src/kernel/kernel.h", "no operations found in struct lv_kernels")
    checks = "\n".join(p.read_text(encoding="utf-8") for p in (root / "tests/kcheck").glob("check_*.c"))
    for op in ops:
        if not re.search(rf"(\.|->){op}\b", checks):
            r.error("src/kernel/kernel.h", f"kernel '{op}' is called by no tests/kcheck/check_*.c")


# libm functions whose last bit the standard leaves open: results would differ between systems.
LIBM = re.compile(r"^(a?(sin|cos|tan)h?|sincos|atan2|exp(2|10|m1)?|log(2|10|1p)?|pow|cbrt|hypot|erfc?"
                  r"|[lt]?gamma)f?$")
TOKEN_PATH = ["src/kernel", "src/device", "src/model", "src/spec"]


def check_libm(r, root, lib):
    names = {f"{p.name}.o" for top in TOKEN_PATH for p in (root / top).rglob("*.c")}
    member = "?"
    for line in output_of("nm", "-u", str(lib)).stdout.splitlines():
        m = re.match(r"^(\S+\.o):", line)
        member = m[1] if m else member
        name = line.split()[-1] if line.strip() else ""
        if member in names and LIBM.match(name):
            r.error("liblever.a", f"{member} calls libm's {name}, whose bits differ between systems")


def isa_objects(root):
    """Members of the archive that may use wide vectors: sources of src/kernel/x86."""
    return {p.name for p in (root / "src/kernel/x86").rglob("*.c")}


def check_archive(r, root, build):
    lib = build / "liblever.a"
    if not lib.is_file():
        r.error(str(lib), "not built")
        return
    out = output_of("nm", "-g", "--defined-only", "-P", str(lib))
    for line in out.stdout.splitlines():
        name = line.split(" ")[0]
        if " " in line and not name.startswith(("lever_", "lv_")):
            r.error("liblever.a", f"global symbol '{name}' has neither the prefix lever_ nor lv_")
    check_libm(r, root, lib)
    wide_ok = isa_objects(root)
    out = output_of("objdump", "-d", "--no-show-raw-insn", str(lib))
    member, told = "?", set()
    for line in out.stdout.splitlines():
        m = re.match(r"^(\S+\.o):\s+file format", line)
        if m:
            member = m[1]
        elif ("%ymm" in line or "%zmm" in line) and member not in told and member[:-2] not in wide_ok:
            told.add(member)
            r.error("liblever.a", f"{member} uses wide vectors outside the ISA kernels: {line.strip()}")


def check_tree(root, build=None):
    r = Report()
    for rel, path in text_files(root):
        check_text(r, rel, path)
        if path.suffix in {".c", ".h", ".cl"}:
            check_functions(r, rel, path)
    check_unique_names(r, root)
    check_headers_alone(r, root)
    check_kernel_tests(r, root)
    if build:
        check_archive(r, root, build)
    return r


def main():
    args = argparse.ArgumentParser(description="house style")
    args.add_argument("--build", type=pathlib.Path)
    args.add_argument("root", nargs="?", default=".", type=pathlib.Path)
    a = args.parse_args()
    r = check_tree(a.root.resolve(), a.build)
    for text in r.warnings + r.errors:
        print(text)
    print(f"{len(r.errors)} errors, {len(r.warnings)} warnings")
    return 1 if r.errors else 0


if __name__ == "__main__":
    sys.exit(main())
