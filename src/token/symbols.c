/* SPDX-License-Identifier: MIT */
#include "token/symbols.h"

#include "base/mem.h"

int lv_symbols_reserve(lv_symbols *s, size_t n, lever_error *err)
{
    s->n = 0;
    if (n <= s->cap) return LEVER_OK;
    lv_symbols_fini(s);
    /* Each merge queues at most two pairs and removes one symbol: 3 n places are enough. */
    s->sym = lv_alloc_array(n, sizeof *s->sym, 16);
    s->heap = lv_alloc_array(n, 3 * sizeof *s->heap, 16);
    if (!s->sym || !s->heap || n > UINT32_MAX / 4) {
        lv_symbols_fini(s);
        return lv_fail(err, LEVER_ENOMEM, 0, "tokenizer state for a word of %zu bytes", n);
    }
    s->cap = (uint32_t)n;
    s->cap_heap = (uint32_t)(3 * n);
    return LEVER_OK;
}

void lv_symbols_fini(lv_symbols *s)
{
    lv_free(s->sym);
    lv_free(s->heap);
    *s = (lv_symbols){ .text = s->text };
}

void lv_symbols_add(lv_symbols *s, uint32_t at, uint32_t len, int32_t id)
{
    const int32_t i = (int32_t)s->n++;
    s->sym[i] = (lv_symbol){ .at = at, .len = len, .prev = i - 1, .next = -1, .id = id };
    if (i > 0) s->sym[i - 1].next = i;
}

static int before(const lv_pair *a, const lv_pair *b)
{
    return a->cost < b->cost || (a->cost == b->cost && a->left < b->left);
}

static void push(lv_symbols *s, lv_pair v)
{
    uint32_t i = s->n_heap++;
    for (uint32_t up; i > 0 && before(&v, &s->heap[up = (i - 1) / 2]); i = up) s->heap[i] = s->heap[up];
    s->heap[i] = v;
}

static lv_pair pop(lv_symbols *s)
{
    const lv_pair top = s->heap[0], v = s->heap[--s->n_heap];
    uint32_t i = 0;
    for (uint32_t c; (c = 2 * i + 1) < s->n_heap; i = c) {
        if (c + 1 < s->n_heap && before(&s->heap[c + 1], &s->heap[c])) c++;
        if (!before(&s->heap[c], &v)) break;
        s->heap[i] = s->heap[c];
    }
    s->heap[i] = v;
    return top;
}

static void queue(lv_symbols *s, int32_t left, int32_t right, lv_pair_fn fn, const void *vocab)
{
    if (left < 0 || right < 0 || s->n_heap == s->cap_heap) return;
    lv_pair p = { .left = left, .right = right, .len = s->sym[left].len + s->sym[right].len };
    if (fn(vocab, s, &s->sym[left], &s->sym[right], &p.cost, &p.id)) push(s, p);
}

void lv_symbols_merge(lv_symbols *s, lv_pair_fn fn, const void *vocab)
{
    s->n_heap = 0;
    for (int32_t i = 0; i + 1 < (int32_t)s->n; i++) queue(s, i, i + 1, fn, vocab);
    while (s->n_heap) {
        const lv_pair p = pop(s);
        lv_symbol *l = &s->sym[p.left], *r = &s->sym[p.right];
        if (!l->len || !r->len || l->next != p.right || l->len + r->len != p.len) continue;
        l->len = p.len;
        l->id = p.id;
        l->next = r->next;
        r->len = 0;
        if (l->next >= 0) s->sym[l->next].prev = p.left;
        queue(s, l->prev, p.left, fn, vocab);
        queue(s, p.left, l->next, fn, vocab);
    }
}
