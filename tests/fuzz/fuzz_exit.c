/* Sidecars of the exit predictor from hostile bytes: open, read the card, score where no model is needed.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/exit_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEMAND(cond)                                                 \
    do {                                                             \
        if (!(cond)) {                                               \
            fprintf(stderr, "fuzz_exit: %s does not hold\n", #cond); \
            abort();                                                 \
        }                                                            \
    } while (0)

static void use(lv_exit *x, size_t size)
{
    const lv_exit_card *c = lv_exit_get_card(x);
    DEMAND(c->n_embd == exit_target.n_embd && c->layer + 1 < c->n_layers);
    DEMAND(isfinite(c->temperature) && c->temperature > 0 && c->n_curve <= LV_EXIT_MAX_CURVE);
    for (uint32_t i = 0; i < c->n_curve; i++)
        DEMAND(c->curve[i].edges_kept >= 0 && c->curve[i].true_kept <= 1);
    /* Nothing is taken that the file does not justify: a byte of it becomes a float at most. */
    DEMAND(lv_exit_memory_bytes(x) <= 8192 + 8 * size);
    if (c->form != LV_EXIT_UNTIED) return;
    float in[32], scores[12];
    int32_t tokens[12];
    for (int i = 0; i < 32; i++) in[i] = (float)(i - 16);
    for (int i = 0; i < 12; i++) tokens[i] = i;
    DEMAND(lv_exit_score(x, NULL, in, tokens, 12, scores) == LEVER_OK);
    tokens[3] = 12;
    DEMAND(lv_exit_score(x, NULL, in, tokens, 12, scores) == LEVER_EINVAL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    const size_t live = lv_alloc_live();
    const int fd = memfd_create("exit", MFD_CLOEXEC);
    if (fd < 0) return 0;
    if (write(fd, data, size) == (ssize_t)size) {
        lv_exit *x;
        lever_error e = { 0 };
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        const int rc = lv_exit_open(&x, path, &exit_target, &e);
        DEMAND((rc == LEVER_OK) == (x != NULL));
        if (rc < 0) DEMAND(e.code == rc && e.msg[0] && rc != LEVER_EIO);
        if (x) use(x, size);
        lv_exit_close(&x);
    }
    close(fd);
    DEMAND(lv_alloc_live() == live);
    return 0;
}
