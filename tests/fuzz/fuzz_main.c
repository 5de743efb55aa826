/* Runs a fuzz target over files and folders of files, without a fuzz engine, so that every ctest run
 * replays the corpus. One line of CMake per target: see lever_fuzz().
 * SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 64 << 20 };

static int n_inputs;

static int run_file(const char *path, size_t size)
{
    uint8_t *data = size > INPUT_MAX ? NULL : malloc(size + !size); /* exact, so an overread is seen */
    FILE *f = fopen(path, "rb");
    const int ok = data && f && fread(data, 1, size, f) == size;
    if (f) fclose(f);
    if (ok) {
        LLVMFuzzerTestOneInput(data, size);
        n_inputs++;
    } else {
        fprintf(stderr, "%s: can not be read\n", path);
    }
    free(data);
    return ok ? 0 : 1;
}

static int run_folder(const char *path)
{
    DIR *d = opendir(path);
    int failed = !d;
    for (struct dirent *e; d && (e = readdir(d));) {
        char file[4096];
        struct stat st;
        if (e->d_name[0] == '.') continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        if (stat(file, &st) == 0 && S_ISREG(st.st_mode)) failed |= run_file(file, (size_t)st.st_size);
    }
    if (d) closedir(d);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        if (stat(argv[i], &st) < 0) {
            perror(argv[i]);
            failed = 1;
            continue;
        }
        failed |= S_ISDIR(st.st_mode) ? run_folder(argv[i]) : run_file(argv[i], (size_t)st.st_size);
    }
    printf("%d inputs\n", n_inputs);
    return failed || !n_inputs; /* an empty corpus tests nothing */
}
