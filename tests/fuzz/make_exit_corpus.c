/* make_exit_corpus FOLDER: writes good sidecars, and one for each rule of the loader, to FOLDER/<name>.gguf.
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>

#include "fuzz/exit_target.h"
#include "support/exit_sidecar.h"

static const char *folder;
static int failed;

static void put(const char *name, const sidecar *s)
{
    char path[4096];
    lever_error e = { 0 };
    snprintf(path, sizeof path, "%s/%s.gguf", folder, name);
    if (lv_exit_write(path, &s->card, &s->weights, &e) < 0) {
        fprintf(stderr, "%s\n", e.msg);
        failed = 1;
    }
}

static void put_all(uint32_t form, const char *name)
{
    char spoilt[64];
    sidecar s = sidecar_make(&exit_target, form), t;
    put(name, &s);
#define SPOIL(field, value) \
    t = s, t.card.field = (value), snprintf(spoilt, sizeof spoilt, "%s_" #field, name), put(spoilt, &t)
    SPOIL(layer, 3);
    SPOIL(n_layers, 1);
    SPOIL(n_curve, 0);
    SPOIL(temperature, NAN);
    SPOIL(norm_eps, -1);
    SPOIL(cand, INFINITY);
    SPOIL(fingerprint, 1);
#undef SPOIL
    s.gain[3] = NAN;
    snprintf(spoilt, sizeof spoilt, "%s_gain", name);
    put(spoilt, &s);
    sidecar_free(&s);
}

static void put_other_shapes(void)
{
    lv_model_id wide = exit_target;
    wide.n_embd = 64;
    sidecar s = sidecar_make(&wide, LV_EXIT_TIED);
    s.card.n_curve = 0;
    put("wide", &s);
    sidecar_free(&s);
    s = sidecar_make(&exit_target, LV_EXIT_UNTIED);
    const lv_type_traits *q8 = lv_type_traits_get(LV_TYPE_Q8_0);
    unsigned char w[12 * 34];
    q8->quantize(w, s.w, 12 * 32);
    s.weights.w = w, s.weights.w_type = LV_TYPE_Q8_0;
    put("untied_q8_0", &s);
    sidecar_free(&s);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_exit_corpus FOLDER\n");
        return 2;
    }
    folder = argv[1];
    put_all(LV_EXIT_TIED, "tied");
    put_all(LV_EXIT_UNTIED, "untied");
    put_other_shapes();
    return failed;
}
