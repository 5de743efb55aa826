/* Chat templates and answers under hostile bytes. First byte 'T': the rest is a template, and a talk is
 * written in the form it is recognised as. Else the rest is an answer: read in pieces it must give what it
 * gives as a whole. SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "token/chat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEMAND(cond)                                                  \
    do {                                                              \
        if (!(cond)) {                                                \
            fprintf(stderr, "fuzz_chat: %s does not hold\n", #cond);  \
            abort();                                                  \
        }                                                             \
    } while (0)

static void write_talk(const lv_chat_format *f)
{
    static const lever_message m[] = { { "system", " s ", SIZE_MAX },
                                       { "user", "<|im_start|>", SIZE_MAX },
                                       { "assistant", "<think>a</think>b", SIZE_MAX },
                                       { "user", "", SIZE_MAX } };
    lever_error err;
    for (size_t first = 0; first < 2; first++)
        for (int think = 0; think < 2; think++) {
            lv_chat_text t = { 0 };
            size_t at = 0;
            DEMAND(lv_chat_write(&t, f, m + first, 4 - first, think, &err) == LEVER_OK);
            for (size_t i = 0; i < t.n; i++) {
                DEMAND(t.pieces[i].at == at && t.pieces[i].len > 0);
                at += t.pieces[i].len;
            }
            DEMAND(at == t.len);
            lv_chat_text_fini(&t);
        }
}

static void template_text(const uint8_t *data, size_t size)
{
    lv_chat_format f;
    lever_error err = { 0 };
    const size_t live = lv_alloc_live();
    const int rc = lv_chat_format_detect(&f, (lv_str){ (const char *)data, size }, &err);
    DEMAND(rc == LEVER_OK || (rc == LEVER_EUNSUP && err.msg[0]));
    if (rc == LEVER_OK) {
        DEMAND(f.name && memchr(f.default_system, '\0', sizeof f.default_system));
        write_talk(&f);
    }
    DEMAND(lv_alloc_live() == live);
}

typedef struct heard {
    uint8_t bytes[2][8192];
    size_t  n[2];
} heard;

static void on_part(void *user, int part, const char *text, size_t len)
{
    heard *h = user;
    DEMAND(len > 0 && h->n[part] + len <= sizeof h->bytes[part]);
    memcpy(h->bytes[part] + h->n[part], text, len);
    h->n[part] += len;
}

static void read_answer(heard *h, const char *text, size_t n, size_t piece)
{
    lever_answer a;
    lv_answer_init(&a, "\nUser:", n % 2);
    h->n[0] = h->n[1] = 0;
    for (size_t at = 0; at < n; at += piece)
        lv_answer_push(&a, text + at, piece < n - at ? piece : n - at, on_part, h);
    lv_answer_finish(&a, on_part, h);
    DEMAND(h->n[0] + h->n[1] <= n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static heard whole, pieces;
    if (size == 0) return 0;
    if (data[0] == 'T') {
        template_text(data + 1, size - 1);
        return 0;
    }
    const char *text = (const char *)data + 1;
    const size_t n = size - 1 < sizeof whole.bytes[0] ? size - 1 : sizeof whole.bytes[0];
    read_answer(&whole, text, n, n ? n : 1);
    for (size_t piece = 1; piece < 9; piece += 3) {
        read_answer(&pieces, text, n, piece);
        for (int part = 0; part < 2; part++)
            DEMAND(pieces.n[part] == whole.n[part] &&
                   !memcmp(pieces.bytes[part], whole.bytes[part], whole.n[part]));
    }
    return 0;
}
