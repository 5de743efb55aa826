/* The registry. SPDX-License-Identifier: MIT */
#include "model/arch.h"

#include <string.h>

static const lv_arch *const archs[] = {
    &lv_arch_llama,
    &lv_arch_qwen2,
    &lv_arch_qwen3,
};

enum { N_ARCHS = sizeof archs / sizeof *archs };

const lv_arch *lv_arch_find(lv_str name)
{
    for (size_t i = 0; i < N_ARCHS; i++)
        if (strlen(archs[i]->name) == name.len && !memcmp(archs[i]->name, name.s, name.len)) return archs[i];
    return NULL;
}

const char *lv_arch_names(char *buf, size_t n)
{
    size_t at = 0;
    if (n) buf[0] = '\0';
    for (size_t i = 0; i < N_ARCHS; i++) {
        const char *sep = i ? ", " : "";
        const size_t len = strlen(sep) + strlen(archs[i]->name);
        if (at + len >= n) break;
        strcpy(buf + at, sep);
        strcat(buf + at, archs[i]->name);
        at += len;
    }
    return buf;
}
