/* quantize_copy IN OUT TYPE: lever_quantize as a program, for fixtures. SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "lever/file.h"

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    FILE *f = fopen(argv[1], "rb");
    if (!f) {
        printf("SKIP: %s is not there (its maker was skipped)\n", argv[1]);
        return 77;
    }
    fclose(f);
    lever_error err = { 0 };
    if (lever_quantize(argv[1], argv[2], argv[3], NULL, NULL, &err) >= 0) return 0;
    fprintf(stderr, "%s\n", err.msg);
    return 1;
}
