/* make_gguf_corpus FOLDER: writes every case of gguf_cases.c to FOLDER/<name>.gguf. Run after adding a
 * case; test_gguf compares the committed files with the cases. SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "fuzz/gguf_cases.h"

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_gguf_corpus FOLDER\n");
        return 2;
    }
    for (size_t i = 0; i < gc_n_cases; i++) {
        char path[4096];
        gc_file f = { .n = 0 };
        gc_cases[i].build(&f);
        snprintf(path, sizeof path, "%s/%s.gguf", argv[1], gc_cases[i].name);
        FILE *out = fopen(path, "wb");
        const size_t wrote = out ? fwrite(f.bytes, 1, f.n, out) : 0;
        if (!out || fclose(out) || wrote != f.n) {
            perror(path);
            return 1;
        }
    }
    return 0;
}
