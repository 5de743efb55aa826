/* What policies have learnt, as bytes that a program can keep between runs.
 * Layout: header, then for each policy that learns: an entry and its bytes. Of one build, on one machine.
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/hash.h"
#include "engine/engine.h"

enum { VERSION = 1, NAME_BYTES = 256 };
static const char magic[8] = "LVLEARN";

typedef struct learnt_header {
    char     magic[8];
    uint64_t version;
    uint64_t pair, conditions; /* keys: of both models; of what times depend on beside them */
    uint64_t sum;              /* of all that follows the header */
} learnt_header;

typedef struct learnt_entry {
    char     policy[NAME_BYTES];
    uint64_t bytes;
} learnt_entry;

static uint64_t mix(uint64_t key, const void *bytes, size_t n)
{
    const uint64_t both[2] = { key, lv_hash64(bytes, n) };
    return lv_hash64(both, sizeof both);
}

static uint64_t mix_number(uint64_t key, uint64_t n) { return mix(key, &n, sizeof n); }

static uint64_t mix_model(uint64_t key, lv_model *m)
{
    size_t n;
    const lv_model_weight *w = lv_model_weights(m, &n);
    for (size_t i = 0; i < n; i++) {
        const uint64_t of[] = { w[i].type, w[i].rows, w[i].cols, w[i].offset };
        key = mix(key, of, sizeof of);
    }
    return key;
}

uint64_t lv_learnt_pair(const lever_engine *e)
{
    const uint64_t key = mix_model(mix_number(0, e->target_file_bytes), e->target);
    return e->draft ? mix_model(key, e->draft) : key;
}

uint64_t lv_learnt_draft(const lever_engine *e) { return e->draft ? mix_model(1, e->draft) : 0; }

/* A 64th of the target more or less in memory is the same; so is another prompt, context or temperature. */
static uint64_t conditions_of(const lever_engine *e)
{
    const char *isa = lv_cpu_kernels(e->cpu)->isa, *flash = e->flash.name ? e->flash.name : "";
    uint64_t key = mix(mix(0, isa, strlen(isa)), flash, strlen(flash));
    key = mix_number(mix_number(key, lv_cpu_n_threads(e->cpu)), (uint64_t)e->flash.bytes_per_s);
    return mix_number(key, e->plan.streamed_bytes / (e->target_file_bytes / 64 + 1));
}

size_t lever_engine_get_learnt(const lever_engine *e, void *out, size_t cap)
{
    size_t n = 0;
    for (uint32_t i = 0; i < e->n_policies; i++)
        if (lv_policy_learnt_bytes(e->policies[i]))
            n += sizeof(learnt_entry) + lv_policy_learnt_bytes(e->policies[i]);
    if (n) n += sizeof(learnt_header);
    if (n == 0 || n > cap) return n;
    learnt_header h = { .version = VERSION, .pair = lv_learnt_pair(e), .conditions = conditions_of(e) };
    memcpy(h.magic, magic, sizeof magic);
    char *at = (char *)out + sizeof h;
    for (uint32_t i = 0; i < e->n_policies; i++) {
        learnt_entry entry = { .bytes = lv_policy_learnt_bytes(e->policies[i]) };
        if (!entry.bytes) continue;
        memcpy(entry.policy, lv_policy_name(e->policies[i]), strlen(lv_policy_name(e->policies[i])));
        memcpy(at, &entry, sizeof entry);
        lv_policy_get_learnt(e->policies[i], at + sizeof entry);
        at += sizeof entry + entry.bytes;
    }
    h.sum = lv_hash64((char *)out + sizeof h, n - sizeof h);
    memcpy(out, &h, sizeof h);
    return n;
}

static int take_entries(lever_engine *e, const char *at, size_t left, bool costs, lever_error *err)
{
    while (left) {
        learnt_entry entry;
        if (left < sizeof entry) return lv_fail(err, LEVER_EFORMAT, 0, "what was learnt is cut short");
        memcpy(&entry, at, sizeof entry);
        at += sizeof entry, left -= sizeof entry;
        if (entry.bytes > left || !memchr(entry.policy, 0, NAME_BYTES))
            return lv_fail(err, LEVER_EFORMAT, 0, "what was learnt is damaged");
        for (uint32_t i = 0; i < e->n_policies; i++) {
            if (strcmp(lv_policy_name(e->policies[i]), entry.policy)) continue;
            if (entry.bytes != lv_policy_learnt_bytes(e->policies[i]) ||
                !lv_policy_set_learnt(e->policies[i], at, costs))
                return lv_fail(err, LEVER_EFORMAT, 0, "what policy '%s' had learnt makes no sense", entry.policy);
        }
        at += entry.bytes, left -= entry.bytes;
    }
    return LEVER_OK;
}

int lever_engine_set_learnt(lever_engine *e, const void *in, size_t n, lever_error *err)
{
    learnt_header h = { 0 };
    if (n >= sizeof h) memcpy(&h, in, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) || h.version != VERSION)
        return lv_fail(err, LEVER_EFORMAT, 0, "this is not what a policy of this version learns");
    const char *rest = (const char *)in + sizeof h;
    if (h.sum != lv_hash64(rest, n - sizeof h)) return lv_fail(err, LEVER_EFORMAT, 0, "what was learnt is damaged");
    if (h.pair != lv_learnt_pair(e)) return lv_fail(err, LEVER_EINVAL, 0, "this was learnt of other models");
    return take_entries(e, rest, n - sizeof h, h.conditions == conditions_of(e), err);
}
