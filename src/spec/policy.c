/* The registry of tree policies. SPDX-License-Identifier: MIT */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "spec/policy_impl.h"

static const lv_policy_type *const types[] = {
    &lv_policy_none,    &lv_policy_chain,    &lv_policy_static, &lv_policy_specinfer, &lv_policy_sequoia,
    &lv_policy_eagle2,  &lv_policy_opttree,  &lv_policy_specexec, &lv_policy_dyspec,  &lv_policy_edgellm,
    &lv_policy_lookup,  &lv_policy_lever,
};
enum { N_TYPES = sizeof types / sizeof *types };

/* "none, chain[:K], tree:K1,K2,..." */
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

/* Digits, and a point with more digits if there is one; no sign, no exponent, no locale. */
static int parse_fraction(const char **at, float hi, float *v, const char *of, lever_error *err)
{
    const char *s = *at;
    const size_t len = strcspn(s, ",");
    double x = 0, unit = 1;
    size_t i = 0, digits = 0;
    for (bool point = false; i < len && len < 20; i++) {
        if (s[i] == '.' && !point) {
            point = true;
            continue;
        }
        if (s[i] < '0' || s[i] > '9') break;
        if (point) unit /= 10;
        x = point ? x + unit * (s[i] - '0') : x * 10 + (s[i] - '0');
        digits++;
    }
    if (digits == 0 || i < len || x > (double)hi)
        return lv_fail(err, LEVER_EINVAL, 0, "tree policy '%s': '%.*s' is not a number from 0 to %g", of,
                       (int)(len < 40 ? len : 40), s, (double)hi);
    *v = (float)x;
    *at = s + len;
    return LEVER_OK;
}

int lv_policy_parse_params(const lv_policy *p, const char *args, const lv_policy_param *params, uint32_t n,
                           lever_error *err)
{
    for (uint32_t i = 0; args; i++) {
        if (i == n)
            return lv_fail(err, LEVER_EINVAL, 0, "tree policy '%.60s': '%.40s' is one setting too many",
                           p->spec, args);
        const lv_policy_param *q = &params[i];
        const int rc = q->u ? lv_policy_parse_number(&args, q->lo, q->hi, q->u, p->spec, err)
                            : parse_fraction(&args, (float)q->hi, q->f, p->spec, err);
        if (rc < 0) return lv_fail_prefix(err, rc, "%s", q->name);
        args = *args ? args + 1 : NULL; /* the comma */
    }
    return LEVER_OK;
}

static int parse_sharpness(lv_policy *p, lever_error *err)
{
    const char *at = strchr(p->spec, '@');
    p->sharpness = 1;
    if (!at) return LEVER_OK;
    if (p->type->no_draft)
        return lv_fail(err, LEVER_EINVAL, 0, "tree policy '%.60s' has no draft to sharpen", p->spec);
    at++;
    LEVER_TRY(parse_fraction(&at, 16, &p->sharpness, p->spec, err));
    if (*at || p->sharpness < 0.01f)
        return lv_fail(err, LEVER_EINVAL, 0, "tree policy '%.60s': a sharpness is one number from 0.01 to 16",
                       p->spec);
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
    if (spec[name_len] == ':') memcpy(p->args, spec + name_len + 1, strcspn(spec + name_len + 1, "@"));
    int rc = LEVER_OK;
    if (type->state_bytes && !(p->state = lv_alloc(type->state_bytes, 64)))
        rc = lv_fail(err, LEVER_ENOMEM, 0, "tree policy '%s'", spec);
    if (rc >= 0) rc = parse_sharpness(p, err);
    if (rc >= 0) rc = type->parse(p, spec[name_len] == ':' ? p->args : NULL, err);
    if (p->grow_nodes < p->max_nodes) p->grow_nodes = p->max_nodes;
    if (p->draft_rows + 1 < p->max_nodes) p->draft_rows = p->max_nodes - 1;
    assert(rc < 0 || (p->max_nodes >= 1 && p->grow_nodes <= LV_GROW_MAX));
    if (rc < 0) lv_policy_close(&p);
    *out = p;
    return rc;
}

int lv_policy_open(lv_policy **out, const char *spec, lever_error *err)
{
    *out = NULL;
    const size_t name_len = strcspn(spec, ":@");
    const lv_policy_type *type = NULL;
    for (int i = 0; i < N_TYPES; i++)
        if (strlen(types[i]->name) == name_len && !memcmp(types[i]->name, spec, name_len)) type = types[i];
    const int rc = type ? open_type(out, type, spec, err)
                        : lv_fail(err, LEVER_EINVAL, 0, "tree policy '%.40s' is not known", spec);
    if (rc == LEVER_EINVAL && err) {
        char names[400];
        const size_t at = strlen(err->msg);
        snprintf(err->msg + at, sizeof err->msg - at, "; known are: %s", known(names, sizeof names));
    }
    return rc;
}

void lv_policy_close(lv_policy **p)
{
    if (!p || !*p) return;
    if ((*p)->type->close && (*p)->state) (*p)->type->close(*p);
    lv_free((*p)->state);
    lv_free(*p);
    *p = NULL;
}

const char *lv_policy_list_drawing(char *buf, size_t cap, bool with_replacement)
{
    size_t at = 0;
    buf[0] = '\0';
    for (int i = 0; i < N_TYPES && at < cap; i++) {
        if (types[i]->draws < (with_replacement ? LV_DRAWS_ANY : LV_DRAWS_WITHOUT_REPLACEMENT)) continue;
        const int n = snprintf(buf + at, cap - at, "%s%s", at ? ", " : "", types[i]->name);
        at += n > 0 ? (size_t)n : 0;
    }
    return buf;
}

const char *lv_policy_known(size_t i) { return i < N_TYPES ? types[i]->name : NULL; }
const char *lv_policy_name(const lv_policy *p) { return p->spec; }
float lv_policy_sharpness(const lv_policy *p) { return p->sharpness; }
int lv_policy_draws(const lv_policy *p) { return p->type->draws; }
bool lv_policy_needs_draft(const lv_policy *p) { return !p->type->no_draft; }
uint32_t lv_policy_max_nodes(const lv_policy *p) { return p->max_nodes; }
uint32_t lv_policy_grow_nodes(const lv_policy *p) { return p->grow_nodes; }
uint32_t lv_policy_draft_rows(const lv_policy *p) { return p->type->no_draft ? 0 : p->draft_rows; }

size_t lv_policy_memory_bytes(const lv_policy *p)
{
    return lv_round_up(sizeof *p, 64) + lv_round_up(p->type->state_bytes, 64) + p->more_bytes;
}

int lv_drafter_expand(lv_drafter *d, lv_tree *t, const int32_t *ids, uint32_t n, lever_error *err)
{
    const uint32_t rows = ids[0] == 0 ? 0 : n;
    assert(n >= 1 && n <= d->max_rows && rows <= d->rows_left && (ids[0] != 0 || n == 1));
    d->last = (lv_cost){ 0 };
    LEVER_TRY(d->expand(d->user, t, ids, n, &d->last, err));
    d->rows_left -= rows;
    d->total.calls += d->last.calls;
    d->total.rows += d->last.rows;
    d->total.ready += d->last.ready;
    d->total.seconds += d->last.seconds;
    return LEVER_OK;
}

/* Parents stand before children, so the first n nodes are a tree. Only an error leaves more. */
static void cut(lv_tree *t, uint32_t n)
{
    bool keep[LV_GROW_MAX];
    for (uint32_t i = 0; i < t->n; i++) keep[i] = i < n;
    lv_tree_keep(t, keep);
}

int lv_policy_grow(lv_policy *p, lv_tree *t, lv_drafter *d, uint32_t max_nodes, uint32_t max_depth,
                   lever_error *err)
{
    if (max_nodes > t->cap) max_nodes = t->cap;
    if (max_nodes > p->max_nodes) max_nodes = p->max_nodes;
    p->expected_tokens = p->expected_s = 0;
    p->expected_nodes = 0;
    if (max_nodes <= t->n || max_depth == 0 || !p->type->grow) return LEVER_OK;
    assert(t->n == 1 && (p->type->no_draft || (d->expand && d->max_rows >= 1)));
    const int rc = p->type->grow(p, t, d, max_nodes, max_depth, err);
    assert(rc < 0 || t->n <= max_nodes);
    if (t->n > max_nodes) cut(t, max_nodes);
    return rc;
}

bool lv_policy_would_prune(const lv_policy *p, uint32_t n_rows, double layers_done)
{
    return p->type->would_prune && p->type->would_prune(p, n_rows, layers_done);
}

void lv_policy_prune(lv_policy *p, const lv_glimpse *g, bool *keep)
{
    p->type->prune(p, g, keep);
    for (uint32_t i = 1; i < g->tree->n; i++) assert(keep[0] && (!keep[i] || keep[g->tree->nodes[i].parent]));
}

void lv_policy_observe(lv_policy *p, const lv_outcome *o)
{
    for (uint32_t i = 0; i < o->n_path; i++)
        assert(o->tree->nodes[o->path[i]].parent == (i ? o->path[i - 1] : 0));
    if (p->type->observe) p->type->observe(p, o);
}

void lv_policy_observe_sweep(lv_policy *p, uint32_t rows, lv_sweep_took took)
{
    if (p->type->observe_sweep) p->type->observe_sweep(p, rows, took);
}

bool lv_policy_expected(const lv_policy *p, lv_expectation *out)
{
    *out = (lv_expectation){ p->expected_tokens, p->expected_s, p->expected_nodes };
    return p->expected_tokens > 0;
}

void lv_policy_share(lv_policy *p, const lv_policy *from)
{
    assert(p->type == from->type);
    if (p->type->share && p != from) p->type->share(p, from);
}

void lv_policy_seed(lv_policy *p, const lv_cost_seed *s)
{
    if (p->type->seed) p->type->seed(p, s);
}

void lv_policy_reset(lv_policy *p)
{
    if (p->type->reset) p->type->reset(p);
}

size_t lv_policy_learnt_bytes(const lv_policy *p) { return p->type->learnt_bytes; }

void lv_policy_get_learnt(const lv_policy *p, void *out)
{
    if (p->type->learnt_bytes) p->type->get_learnt(p, out);
}

bool lv_policy_set_learnt(lv_policy *p, const void *in, bool costs)
{
    return p->type->learnt_bytes && p->type->set_learnt(p, in, costs);
}
