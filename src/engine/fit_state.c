/* SPDX-License-Identifier: MIT */
#include "engine/fit_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"

static const char magic[8] = "lvrstat2";

uint64_t lv_fit_state_hash(const uint64_t *numbers, size_t n)
{
    return lv_hash64(numbers, n * sizeof *numbers);
}

static bool put(FILE *f, const void *bytes, size_t n) { return fwrite(bytes, 1, n, f) == n; }
static bool get(FILE *f, void *bytes, size_t n) { return fread(bytes, 1, n, f) == n; }

static bool write_all(FILE *f, const fit_state *s, const lv_fit_net *net, const float *best)
{
    if (!put(f, magic, sizeof magic) || !put(f, s, sizeof *s)) return false;
    if (!s->has_params) return true;
    const size_t n = net->n_params * sizeof(float);
    return put(f, net->p, n) && put(f, net->m, n) && put(f, net->v, n) && put(f, best, n);
}

int lv_fit_state_save(fit_state *s, const char *path, const lv_fit_net *net, const float *best,
                      lever_error *err)
{
    const size_t len = strlen(path);
    char *part = lv_alloc(len + sizeof ".part", 8);
    if (!part) return lv_fail(err, LEVER_ENOMEM, 0, "%s: name", path);
    memcpy(part, path, len);
    memcpy(part + len, ".part", sizeof ".part");
    if (!net) s->has_params = 0;
    s->adam_steps = net ? net->n_steps : 0;
    s->n_params = net ? (uint32_t)net->n_params : 0;
    errno = 0;
    FILE *f = fopen(part, "wbe");
    bool ok = f && write_all(f, s, net, best);
    if (f && fclose(f) != 0) ok = false;
    ok = ok && rename(part, path) == 0;
    const int rc =
        ok ? LEVER_OK
           : lv_fail(err, LEVER_EIO, errno ? errno : EIO, "%s: write of the unfinished training", part);
    if (!ok) remove(part);
    lv_free(part);
    return rc;
}

static FILE *open_checked(const char *path, fit_state *s)
{
    char m[sizeof magic];
    FILE *f = fopen(path, "rbe");
    if (!f) return NULL;
    if (get(f, m, sizeof m) && !memcmp(m, magic, sizeof m) && get(f, s, sizeof *s)) return f;
    fclose(f);
    return NULL;
}

bool lv_fit_state_load(fit_state *s, const char *path, uint64_t settings)
{
    fit_state found;
    FILE *f = open_checked(path, &found);
    if (!f) return false;
    fclose(f);
    if (found.settings != settings || found.stage > LEVER_FIT_LAYERS) return false;
    *s = found;
    return true;
}

int lv_fit_state_load_params(const char *path, lv_fit_net *net, float *best, lever_error *err)
{
    fit_state s;
    const size_t n = net->n_params * sizeof(float);
    errno = 0;
    FILE *f = open_checked(path, &s);
    if (!f) return lv_fail(err, LEVER_EIO, errno ? errno : EIO, "%s: read of the unfinished training", path);
    const bool fits = s.has_params && s.n_params == net->n_params;
    const bool ok = fits && get(f, net->p, n) && get(f, net->m, n) && get(f, net->v, n) && get(f, best, n);
    fclose(f);
    net->n_steps = s.adam_steps;
    return ok ? LEVER_OK
              : lv_fail(err, LEVER_EFORMAT, 0, "%s: the unfinished training is damaged; remove the file",
                        path);
}
