/* SPDX-License-Identifier: MIT */
#include "spec/prune.h"

#include <assert.h>
#include <string.h>

#include "kernel/noise.h"

enum { LEAST_NODES = 4, LEAST_SHARE = 10, ROOT_WIDTH = 2 };

/* ---- settings ---- */

/* 0, 1 or "0.ddd" with at most 6 digits. */
static bool parse_threshold(const char *s, size_t len, float *out)
{
    uint32_t digits = 0, value = 0, unit = 1;
    bool point = false;
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '.' && !point) {
            point = true;
            continue;
        }
        if (s[i] < '0' || s[i] > '9' || ++digits > 7) return false;
        value = value * 10 + (uint32_t)(s[i] - '0');
        if (point) unit *= 10;
    }
    *out = (float)value / (float)unit;
    return digits > 0 && *out <= 1.0f;
}

static bool is(const char *s, size_t len, const char *word) { return strlen(word) == len && !memcmp(s, word, len); }

int lv_prune_parse(lv_prune_rule *out, const char *text, lever_error *err)
{
    lv_prune_rule r = { .mode = LV_PRUNE_THRESHOLD };
    for (const char *s = text;; s++) {
        const size_t len = strcspn(s, ",");
        bool good = true;
        if (s == text) {
            if (is(s, len, "auto")) r.mode = LV_PRUNE_AUTO;
            else if (is(s, len, "off")) r.mode = LV_PRUNE_OFF;
            else good = parse_threshold(s, len, &r.threshold);
        } else if (is(s, len, "no-shadows")) r.no_shadows = true;
        else if (is(s, len, "no-safeguards")) r.no_safeguards = true;
        else if (is(s, len, "dry")) r.dry = true;
        else good = false;
        if (!good)
            return lv_fail(err, LEVER_EINVAL, 0,
                           "pruning '%.60s': '%.*s' is not known; give auto, off or a threshold within 0..1, then any "
                           "of ,no-shadows ,no-safeguards ,dry", text, (int)(len < 40 ? len : 40), s);
        s += len;
        if (!*s) break;
    }
    *out = r;
    return LEVER_OK;
}

/* ---- shares ---- */

void lv_prune_shares(float *p, uint32_t n)
{
    float best = p[0], sum = 0;
    bool finite = true;
    for (uint32_t i = 0; i < n; i++) {
        finite = finite && p[i] - p[i] == 0.0f;
        if (p[i] > best) best = p[i];
    }
    for (uint32_t i = 0; i < n; i++) sum += p[i] = finite ? lv_expf(p[i] - best) : 1.0f;
    for (uint32_t i = 0; i < n; i++) p[i] /= sum;
}

/* ---- which nodes ---- */

static int32_t best_child(const lv_tree *t, const float *share, int32_t node)
{
    int32_t best = -1;
    for (int32_t c = t->nodes[node].first_child; c >= 0; c = t->nodes[c].next_sibling)
        if (best < 0 || share[c] > share[best]) best = c;
    return best;
}

uint32_t lv_prune_add_backbone(const lv_tree *t, const float *share, bool *keep)
{
    uint32_t added = 0;
    for (int32_t at = best_child(t, share, 0); at >= 0; at = best_child(t, share, at)) {
        added += !keep[at];
        keep[at] = true;
    }
    return added;
}

/* The ROOT_WIDTH children of the root with the largest shares. */
static void keep_near_root(const lv_tree *t, const float *share, bool *keep)
{
    for (int32_t c = t->nodes[0].first_child; c >= 0; c = t->nodes[c].next_sibling) {
        uint32_t better = 0;
        for (int32_t o = t->nodes[0].first_child; o >= 0; o = t->nodes[o].next_sibling)
            better += share[o] > share[c] || (share[o] == share[c] && o < c);
        if (better < ROOT_WIDTH) keep[c] = true;
    }
}

uint32_t lv_prune_by_threshold(const lv_tree *t, const float *share, const lv_prune_rule *r, bool *keep)
{
    uint32_t n = 0;
    keep[0] = true;
    for (uint32_t i = 1; i < t->n; i++) keep[i] = keep[t->nodes[i].parent] && share[i] >= r->threshold;
    if (!r->no_safeguards) {
        lv_prune_add_backbone(t, share, keep);
        keep_near_root(t, share, keep);
    }
    for (uint32_t i = 0; i < t->n; i++) n += keep[i];
    if (r->no_safeguards || (n >= LEAST_NODES && n * LEAST_SHARE >= t->n)) return n;
    memset(keep, true, t->n * sizeof *keep);
    return t->n;
}
