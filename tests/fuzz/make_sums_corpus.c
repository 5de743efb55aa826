/* make_sums_corpus FOLDER: writes every case of sums_cases.c to FOLDER/<name>.sums. Run after adding a case;
 * test_sums compares the committed files with the cases. SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "fuzz/sums_cases.h"

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_sums_corpus FOLDER\n");
        return 2;
    }
    for (size_t i = 0; i < sc_n_cases; i++) {
        char path[4096];
        sc_file f = { .n = 0 };
        sc_cases[i].build(&f);
        snprintf(path, sizeof path, "%s/%s.sums", argv[1], sc_cases[i].name);
        FILE *out = fopen(path, "wb");
        const size_t wrote = out ? fwrite(f.bytes, 1, f.n, out) : 0;
        if (!out || fclose(out) || wrote != f.n) {
            perror(path);
            return 1;
        }
    }
    return 0;
}
