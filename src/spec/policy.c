/* The registry of tree policies. SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "spec/policy_impl.h"

static const lv_policy_type *const types[] = { &lv_policy_none, &lv_policy_chain, &lv_policy_static };
enum { N_TYPES = sizeof types / sizeof *types };

/* "none, chain:K (...), tree:k1,k2,... (...)" */
static const char *known(char *buf, size_t cap)
{
    size_t at = 0;
    buf[0] = '\0';
    for (int i = 0; i < N_TYPES && at < cap; i++) {
        const int n = snprintf(buf + at, cap - at, "%s%s", i ? ", " : "", types[i]->usage);
        at += n > 0 ? (size_t)n : 0;
    }
    return buf;
}

int lv_policy_parse_number(const char **at, uint32_t lo, uint32_t hi, uint32_t *v, const char *of,
                           lever_error *err)
{
    const char *s = *at;
    const size_t len = strcspn(s, ",");
    uint32_t n = 0;
    size_t i = 0;
    for (; i < len && s[i] >= '0' && s[i] <= '9' && n <= hi; i++) n = n * 10 + (uint32_t)(s[i] - '0');
    if (i == 0 || i < len || n < lo || n > hi)
        return lv_fail(err, LEVER_EINVAL, 0, "tree policy '%s': '%.*s' is not a number from %u to %u", of,
                       (int)(len < 40 ? len : 40), s, lo, hi);
    *v = n;
    *at = s + len;
    return LEVER_OK;
}

static int open_type(lv_policy **out, const lv_policy_type *type, const char *spec, lever_error *err)
{
    const size_t len = strlen(spec), name_len = strlen(type->name);
    if (len >= LV_POLICY_SPEC_BYTES)
        return lv_fail(err, LEVER_EINVAL, 0, "tree policy '%.40s...' is longer than %d characters", spec,
                       LV_POLICY_SPEC_BYTES - 1);
    lv_policy *p = lv_alloc(sizeof *p, 64);
    if (!p) return lv_fail(err, LEVER_ENOMEM, 0, "tree policy '%s'", spec);
    p->type = type;
    memcpy(p->spec, spec, len + 1);
    const int rc = type->parse(p, name_len < len ? p->spec + name_len + 1 : NULL, err);
    if (rc < 0) lv_policy_close(&p);
    *out = p;
    return rc;
}

int lv_policy_open(lv_policy **out, const char *spec, lever_error *err)
{
    *out = NULL;
    const size_t name_len = strcspn(spec, ":");
    const lv_policy_type *type = NULL;
    for (int i = 0; i < N_TYPES; i++)
        if (strlen(types[i]->name) == name_len && !memcmp(types[i]->name, spec, name_len)) type = types[i];
    const int rc = type ? open_type(out, type, spec, err)
                        : lv_fail(err, LEVER_EINVAL, 0, "tree policy '%.40s' is not known", spec);
    if (rc == LEVER_EINVAL && err) {
        char names[256];
        const size_t at = strlen(err->msg);
        snprintf(err->msg + at, sizeof err->msg - at, "; known are: %s", known(names, sizeof names));
    }
    return rc;
}

void lv_policy_close(lv_policy **p)
{
    if (!p) return;
    lv_free(*p);
    *p = NULL;
}

const char *lv_policy_known(size_t i) { return i < N_TYPES ? types[i]->name : NULL; }
const char *lv_policy_name(const lv_policy *p) { return p->spec; }
uint32_t lv_policy_max_nodes(const lv_policy *p) { return p->max_nodes; }

int lv_policy_grow(lv_policy *p, lv_tree *t, const lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                   lever_error *err)
{
    if (max_nodes > t->cap) max_nodes = t->cap;
    if (max_nodes <= t->n || max_depth == 0) return LEVER_OK;
    return p->type->grow(p, t, d, max_nodes, max_depth, err);
}
