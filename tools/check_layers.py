#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who may include whom (docs/architecture.md). Exit 0: clean, 1: violations, each as file:line: text.

usage: check_layers.py [ROOT]
"""
import pathlib
import re
import sys

ORDER = "base os quant kernel gguf token flash device model spec plan fit engine".split()

# Kernels are leaf arithmetic: no allocation, I/O or threads, so no header that offers them. math.h is
# there for fmaf and sqrtf, which IEEE 754 defines to the last bit; check_style.py refuses the rest.
KERNEL_HEADERS = set("stddef.h stdint.h stdbool.h string.h assert.h math.h immintrin.h arm_neon.h".split())
# Only these places talk to the operating system.
OS_HEADERS = re.compile(r"^(sys/|linux/|asm/|netinet/|arpa/|liburing"
                        r"|(unistd|fcntl|pthread|sched|signal|dlfcn|poll|semaphore|threads|dirent|netdb)\.h)")
OS_FOLDERS = {"os", "flash"}
OS_FILES = {
    "src/base/mem.c": "anonymous mappings with huge pages",
    "src/gguf/gguf.c": "metadata is read before any lv_file exists",
    "src/gguf/gguf_write.c": "the writer syncs and renames",
}
# Types that every layer passes on.
PLAIN_PUBLIC = {"lever/error.h", "lever/machine.h", "lever/message.h", "lever/trace.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def check_include(path, folder, kind, name):
    """The complaint about one #include of a file in src/<folder>, or None."""
    if name.startswith("CL/") and not path.startswith("src/device/opencl/"):
        return f"<{name}>: OpenCL headers belong to src/device/opencl"
    if kind == "<":
        if folder == "kernel" and name not in KERNEL_HEADERS:
            return f"<{name}>: kernels include no libc header beyond {' '.join(sorted(KERNEL_HEADERS))}"
        if OS_HEADERS.match(name) and folder not in OS_FOLDERS and path not in OS_FILES:
            return f"<{name}>: only src/os and src/flash call the operating system"
        return None
    if name == "lever/device_plugin.h" and path.startswith("src/device/plugin/"):
        return None  # the other side of that interface
    if name.startswith("lever/"):
        if name not in PLAIN_PUBLIC and folder != "engine":
            return f'"{name}": the public API is implemented in src/engine'
        return None
    target = name.split("/")[0] if "/" in name else None
    if target not in ORDER:
        return f'"{name}": write "folder/file.h" with a folder of src/'
    if ORDER.index(target) > ORDER.index(folder):
        return f'"{name}": {folder}/ stands before {target}/ in the order {" ".join(ORDER)}'
    return None


def check_app_include(kind, name):
    if kind == '"' and name.split("/")[0] in ORDER:
        return f'"{name}": programs reach the engine only through include/lever'
    return None


def check_public_include(kind, name):
    if kind == '"' and not name.startswith("lever/"):
        return f'"{name}": public headers include only lever/ and standard headers'
    if kind == "<" and name not in {"stdbool.h", "stddef.h", "stdint.h"}:
        return f"<{name}>: public headers show no operating system or SIMD types"
    return None


def check_tree(root):
    found = []
    for top in ("src", "apps", "include"):
        for path in sorted((root / top).rglob("*.[ch]")):
            rel = path.relative_to(root).as_posix()
            folder = rel.split("/")[1] if top == "src" else None
            if top == "src" and folder not in ORDER:
                found.append(f"{rel}:1: folder {folder}/ is not in the order")
                continue
            for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                m = INCLUDE.match(line)
                if not m:
                    continue
                if top == "src":
                    text = check_include(rel, folder, m[1], m[2])
                elif top == "apps":
                    text = check_app_include(m[1], m[2])
                else:
                    text = check_public_include(m[1], m[2])
                if text:
                    found.append(f"{rel}:{n}: {text}")
    return found


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    found = check_tree(root)
    for text in found:
        print(text)
    print(f"{len(found)} layer violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
