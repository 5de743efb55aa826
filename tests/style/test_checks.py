# SPDX-License-Identifier: MIT
"""The style checks themselves must be able to fail: small trees with one fault each."""
import contextlib
import io
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import check_layers  # noqa: E402
import check_style  # noqa: E402
import run_tests  # noqa: E402

HEAD = "/* SPDX-License-Identifier: MIT */\n"
KERNEL = HEAD + ("typedef struct lv_kernels { const char *isa; void (*add)(float *x); lv_mm_fn matmul[4]; }"
                 " lv_kernels;\n")


class Checks(unittest.TestCase):
    def tree(self, files):
        tmp = tempfile.TemporaryDirectory()
        self.addCleanup(tmp.cleanup)
        root = pathlib.Path(tmp.name)
        base = {"src/kernel/kernel.h": KERNEL, "include/lever/a.h": HEAD + "extern int lever_a;\n",
                "tests/kcheck/check_all.c": HEAD + "void f(void) { k.add(0); k->matmul[0](); }\n"}
        for name, text in {**base, **files}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return root

    def layers(self, files):
        return "\n".join(check_layers.check_tree(self.tree(files)))

    def style(self, files):
        return "\n".join(check_style.check_tree(self.tree(files)).errors)

    def test_clean_tree_passes(self):
        self.assertEqual(self.layers({"src/model/m.c": '#include "base/mem.h"\n#include "model/x.h"\n'}), "")
        self.assertEqual(self.style({}), "")

    def test_include_of_a_later_folder(self):
        self.assertIn("src/base/b.c:2", self.layers({"src/base/b.c": '\n#include "engine/e.h"\n'}))

    def test_plan_stands_before_engine(self):
        self.assertEqual(self.layers({"src/engine/e.c": '#include "plan/p.h"\n'}), "")
        self.assertIn("plan/ stands before engine/", self.layers({"src/plan/p.c": '#include "engine/e.h"\n'}))

    def test_fences(self):
        self.assertIn("libc header", self.layers({"src/kernel/ref/k.c": "#include <stdlib.h>\n"}))
        self.assertEqual(self.layers({"src/kernel/x86/k.c": "#include <immintrin.h>\n"}), "")
        self.assertIn("OpenCL", self.layers({"src/engine/e.c": "#include <CL/cl.h>\n"}))
        self.assertIn("operating system", self.layers({"src/model/m.c": "#include <unistd.h>\n"}))
        self.assertIn("only through include/lever", self.layers({"apps/lever/m.c": '#include "model/m.h"\n'}))
        plugin = {"src/device/plugin/p.c": '#include "lever/device_plugin.h"\n'}
        self.assertEqual(self.layers(plugin), "")
        self.assertIn("public API", self.layers({"src/device/d.c": plugin["src/device/plugin/p.c"]}))
        self.assertIn("public headers", self.layers({"include/lever/b.h": "#include <pthread.h>\n"}))

    def test_white_space_and_licence(self):
        self.assertIn("white space", self.style({"src/os/o.c": HEAD + "int a; \n"}))
        self.assertIn("tab", self.style({"src/os/o.c": HEAD + "\tint a;\n"}))
        self.assertIn("SPDX", self.style({"src/os/o.c": "int a;\n"}))
        self.assertIn("newline", self.style({"src/os/o.c": HEAD + "int a;"}))
        self.assertIn("columns", self.style({"src/os/o.c": HEAD + "/* " + "x" * 130 + " */\n"}))

    def test_sizes(self):
        self.assertIn("lines, at most 1200",
                      self.style({"src/os/o.c": HEAD + "int a;\n" * 1300}))
        body = HEAD + "void lv_long(void)\n{\n" + "    ;\n" * 120 + "}\n"
        self.assertIn("lv_long() has 122 lines", self.style({"src/os/o.c": body}))

    def test_names_and_kernel_checks(self):
        self.assertIn("same name", self.style({"src/kernel/ref/o.c": HEAD, "src/base/o.c": HEAD}))
        only_add = {"tests/kcheck/check_all.c": HEAD + "void f(void) { k.add(0); }\n"}
        self.assertIn("kernel 'matmul'", self.style(only_add))

    def test_headers_compile_alone(self):
        self.assertIn("alone as C11", self.style({"include/lever/b.h": HEAD + "lever_error e;\n"}))
        self.assertIn("alone as C++11", self.style({"include/lever/b.h": HEAD + "extern int class;\n"}))

    def test_results_are_counted_and_unlisted_skips_are_problems(self):
        cases = {"a": ("run", ""), "b": ("fail", "<failure/>"), "c": ("notrun", "<skipped/>"),
                 "d": ("notrun", "<skipped/>")}
        xml = "".join(f'<testcase name="{n}" status="{s}">{b}</testcase>' for n, (s, b) in cases.items())
        root = self.tree({"report.xml": f"<testsuite>{xml}</testsuite>"})
        totals = run_tests.Totals()
        skips = {("*", "c"): "known", ("tsan", "d"): "of another section"}
        with contextlib.redirect_stdout(io.StringIO()):
            got = run_tests.count("dev", root / "report.xml", skips, totals)
        self.assertEqual(got, (1, 1, 2))
        self.assertEqual(len(totals.problems), 2)
        self.assertIn("d was skipped", totals.problems[1])


if __name__ == "__main__":
    unittest.main()
