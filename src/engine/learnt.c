/* What was learnt of a pair of models, as bytes that a program can keep between runs: by policies, and how often the
 * draft's candidates were right.
 * Layout: header, then entries, each a name, what times in it depend on, and its bytes. Entries of policies that an
 * engine does not have are handed on as they are. Of one build, on one machine.
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/hash.h"
#include "engine/engine.h"

enum { VERSION = 4, NAME_BYTES = 256, REST_MOST = 1 << 18 };
static const char magic[8] = "LVLEARN";
static const char acceptance_name[] = "(acceptance)"; /* no policy has such a name */

typedef struct learnt_header {
    char     magic[8];
    uint64_t version;
    uint64_t pair; /* key of both models */
    uint64_t sum;  /* of all that follows the header */
} learnt_header;

typedef struct learnt_entry {
    char     name[NAME_BYTES];
    uint64_t conditions; /* key of what times depend on beside the models */
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

uint64_t lv_learnt_pair(uint64_t target_file_bytes, lv_model *target, lv_model *draft)
{
    const uint64_t key = mix_model(mix_number(0, target_file_bytes), target);
    return draft ? mix_model(key, draft) : key;
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

/* ---- handing out ---- */

static size_t acceptance_bytes(const lever_engine *e)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < LV_ACC_KINDS; i++) n += e->acceptances.kind[i].n_text;
    return n ? sizeof e->acceptances : 0;
}

/* Begin an entry at *at; its bytes go where it returns. */
static char *put_entry(char **at, const char *name, uint64_t conditions, uint64_t bytes)
{
    learnt_entry entry = { .conditions = conditions, .bytes = bytes };
    memcpy(entry.name, name, strlen(name));
    memcpy(*at, &entry, sizeof entry);
    char *content = *at + sizeof entry;
    *at = content + bytes;
    return content;
}

size_t lever_engine_get_learnt(const lever_engine *e, void *out, size_t cap)
{
    const size_t accepted = acceptance_bytes(e);
    size_t n = accepted ? sizeof(learnt_entry) + accepted : 0;
    for (uint32_t i = 0; i < e->n_policies; i++)
        if (lv_policy_learnt_bytes(e->policies[i]))
            n += sizeof(learnt_entry) + lv_policy_learnt_bytes(e->policies[i]);
    if (n == 0) return 0;
    n += sizeof(learnt_header) + e->learnt_rest_bytes;
    if (n > cap) return n;
    learnt_header h = { .version = VERSION, .pair = e->pair_key };
    memcpy(h.magic, magic, sizeof magic);
    char *at = (char *)out + sizeof h;
    for (uint32_t i = 0; i < e->n_policies; i++) {
        const size_t bytes = lv_policy_learnt_bytes(e->policies[i]);
        if (bytes)
            lv_policy_get_learnt(e->policies[i],
                                 put_entry(&at, lv_policy_name(e->policies[i]), conditions_of(e), bytes));
    }
    if (accepted) memcpy(put_entry(&at, acceptance_name, 0, accepted), &e->acceptances, accepted);
    if (e->learnt_rest_bytes) memcpy(at, e->learnt_rest, e->learnt_rest_bytes);
    h.sum = lv_hash64((char *)out + sizeof h, n - sizeof h);
    memcpy(out, &h, sizeof h);
    return n;
}

/* ---- taking over ---- */

/* The entry at *at, whose bytes follow; steps over both. 0: there are no more. */
static int next_entry(const char **at, size_t *left, learnt_entry *entry, lever_error *err)
{
    if (*left == 0) return 0;
    if (*left < sizeof *entry) return lv_fail(err, LEVER_EFORMAT, 0, "what was learnt is cut short");
    memcpy(entry, *at, sizeof *entry);
    if (entry->bytes > *left - sizeof *entry || !memchr(entry->name, 0, NAME_BYTES))
        return lv_fail(err, LEVER_EFORMAT, 0, "what was learnt is damaged");
    *at += sizeof *entry + entry->bytes;
    *left -= sizeof *entry + entry->bytes;
    return 1;
}

/* Header and sum. LEVER_OK, LEVER_EFORMAT, LEVER_EINVAL: of another pair. */
static int check_header(const char *in, size_t n, uint64_t pair, lever_error *err)
{
    learnt_header h = { 0 };
    if (n >= sizeof h) memcpy(&h, in, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) || h.version != VERSION)
        return lv_fail(err, LEVER_EFORMAT, 0, "this is not what a policy of this version learns");
    if (h.sum != lv_hash64(in + sizeof h, n - sizeof h))
        return lv_fail(err, LEVER_EFORMAT, 0, "what was learnt is damaged");
    if (h.pair != pair) return lv_fail(err, LEVER_EINVAL, 0, "this was learnt of other models");
    return LEVER_OK;
}

/* False: they can not be; *out is then zeroed. */
static bool acceptances_from(lv_acceptances *out, const learnt_entry *entry, const char *bytes)
{
    bool good = entry->bytes == sizeof *out;
    if (good) memcpy(out, bytes, sizeof *out);
    for (uint32_t i = 0; i < LV_ACC_KINDS && good; i++) good = lv_acceptance_valid(&out->kind[i]);
    if (!good) memset(out, 0, sizeof *out);
    return good;
}

static int senseless(const learnt_entry *entry, lever_error *err)
{
    return lv_fail(err, LEVER_EFORMAT, 0, "what policy '%s' had learnt makes no sense", entry->name);
}

/* Another policy's: kept for the one who writes it next. */
static int keep_entry(lever_engine *e, const learnt_entry *entry, const char *bytes, lever_error *err)
{
    const size_t more = sizeof *entry + (size_t)entry->bytes;
    if (e->learnt_rest_bytes + more > REST_MOST) return LEVER_OK;
    char *rest = lv_alloc(e->learnt_rest_bytes + more, 64);
    if (!rest) return lv_fail(err, LEVER_ENOMEM, 0, "what other policies have learnt");
    if (e->learnt_rest_bytes) memcpy(rest, e->learnt_rest, e->learnt_rest_bytes);
    memcpy(rest + e->learnt_rest_bytes, bytes - sizeof *entry, more);
    lv_free(e->learnt_rest);
    e->learnt_rest = rest;
    e->learnt_rest_bytes += more;
    return LEVER_OK;
}

static int take_entry(lever_engine *e, const learnt_entry *entry, const char *bytes, lever_error *err)
{
    if (!strcmp(entry->name, acceptance_name)) {
        const bool good = acceptances_from(&e->acceptances, entry, bytes);
        return good ? LEVER_OK : senseless(entry, err);
    }
    for (uint32_t i = 0; i < e->n_policies; i++) {
        if (strcmp(lv_policy_name(e->policies[i]), entry->name)) continue;
        if (entry->bytes != lv_policy_learnt_bytes(e->policies[i]) ||
            !lv_policy_set_learnt(e->policies[i], bytes, entry->conditions == conditions_of(e)))
            return senseless(entry, err);
        return LEVER_OK;
    }
    return keep_entry(e, entry, bytes, err);
}

int lever_engine_set_learnt(lever_engine *e, const void *in, size_t n, lever_error *err)
{
    LEVER_TRY(check_header(in, n, e->pair_key, err));
    const char *at = (const char *)in + sizeof(learnt_header);
    size_t left = n - sizeof(learnt_header);
    learnt_entry entry;
    e->learnt_rest_bytes = 0;
    for (int more; (more = next_entry(&at, &left, &entry, err)) != 0;) {
        if (more < 0) return more;
        LEVER_TRY(take_entry(e, &entry, at - entry.bytes, err));
    }
    return LEVER_OK;
}

bool lv_learnt_acceptances(const void *in, size_t n, uint64_t pair, lv_acceptances *out)
{
    if (check_header(in, n, pair, NULL) < 0) return false;
    const char *at = (const char *)in + sizeof(learnt_header);
    size_t left = n - sizeof(learnt_header);
    learnt_entry entry;
    while (next_entry(&at, &left, &entry, NULL) > 0)
        if (!strcmp(entry.name, acceptance_name)) return acceptances_from(out, &entry, at - entry.bytes);
    return false;
}
