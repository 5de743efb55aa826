/* `lever fit`: train the early-exit predictor of a target. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "lever/fit.h"
#include "model_args.h"
#include "text_file.h"

typedef struct fit_args {
    model_args  model;
    const char *text, *out, *form;
    uint32_t    rank, layers, steps, positions;
    uint64_t    disk, seed;
    float       minutes;
    bool        json, help;
} fit_args;

static const option options[] = {
    { NULL, OPTION_FLAG, NULL, "text and result", 0 },
    { "-f --text", OPTION_TEXT, "FILES",
      "text of the target's own kind, separated by commas; needed. Names of control\n"
      "tokens in it become these tokens; at end-of-text tokens a document ends",
      offsetof(fit_args, text) },
    { "-o --output", OPTION_TEXT, "FILE", "the sidecar; default: the target's name with .exit.gguf",
      offsetof(fit_args, out) },
    { NULL, OPTION_FLAG, NULL, "predictor", 0 },
    { "--form", OPTION_TEXT, "NAME", "tied (low-rank, on the target's output head) or untied; default tied",
      offsetof(fit_args, form) },
    { "--rank", OPTION_U32, "R", "of the tied form; default 64, at most a quarter of the width",
      offsetof(fit_args, rank) },
    { "--layers", OPTION_U32, "N", "predict after N layers; default: the best of some, by measurement",
      offsetof(fit_args, layers) },
    { NULL, OPTION_FLAG, NULL, "effort", 0 },
    { "--positions", OPTION_U32, "N", "train on at most N tokens of the text; default 24576",
      offsetof(fit_args, positions) },
    { "--disk", OPTION_BYTES, "SIZE", "for what is recorded of them, until the end; default 1GiB",
      offsetof(fit_args, disk) },
    { "--steps", OPTION_U32, "N", "of training, at most; default 600", offsetof(fit_args, steps) },
    { "--time-limit", OPTION_FLOAT, "MINUTES", "fewer steps where more would take longer",
      offsetof(fit_args, minutes) },
    { "-s --seed", OPTION_U64, "N", "of the training; default 0", offsetof(fit_args, seed) },
    MODEL_FILE_OPTIONS(fit_args, model),
    MODEL_RESOURCE_OPTIONS(fit_args, model,
                           "tokens of a window of text; default: the model's context, at most 512"),
    { NULL, OPTION_FLAG, NULL, "output", 0 },
    { "--json", OPTION_FLAG, NULL, "one JSON object on stdout", offsetof(fit_args, json) },
    { "-h --help", OPTION_FLAG, NULL, "this page", offsetof(fit_args, help) },
};

/* ---- texts ---- */

typedef struct texts {
    lever_text *items; /* [n] */
    size_t n;
} texts;

static void texts_free(texts *t)
{
    for (size_t i = 0; i < t->n; i++) free((void *)(uintptr_t)t->items[i].text);
    free(t->items);
}

static int texts_load(texts *t, const char *files, lever_error *err)
{
    char path[4096];
    for (const char *p = files;; p++) {
        const size_t width = strcspn(p, ",");
        lever_text *more = realloc(t->items, (t->n + 1) * sizeof *more);
        if (!more) return err->code = LEVER_ENOMEM;
        t->items = more;
        snprintf(path, sizeof path, "%.*s", (int)width, p);
        t->items[t->n].text = text_file_read(path, &t->items[t->n].len, err);
        if (!t->items[t->n].text) return err->code;
        t->n++;
        p += width;
        if (!*p) return LEVER_OK;
    }
}

/* ---- while it runs ---- */

static volatile sig_atomic_t interrupted;

static void on_sigint(int sig)
{
    (void)sig;
    interrupted = 1;
    signal(SIGINT, SIG_DFL); /* a second Ctrl-C ends the program at once */
}

typedef struct job {
    progress load, run;
    char     line[64];
    int      phase;
    bool     started;
} job;

static void on_load(void *user, const char *what, uint64_t done, uint64_t total)
{
    job *j = user;
    progress_show(&j->load, what, done, total);
}

static bool on_fit(void *user, const lever_fit_result *r)
{
    job *j = user;
    if (!j->started) {
        j->started = true;
        progress_clear(&j->load);
        signal(SIGINT, on_sigint);
    }
    if (r->phase != j->phase) progress_clear(&j->run), j->run = (progress){ 0 };
    j->phase = r->phase;
    switch (r->phase) {
    case LEVER_FIT_RECORD: snprintf(j->line, sizeof j->line, "recording,"); break;
    case LEVER_FIT_TRY: snprintf(j->line, sizeof j->line, "trying layer %u,", r->n_tried + 1); break;
    case LEVER_FIT_TRAIN: snprintf(j->line, sizeof j->line, "training, loss %.4f,", r->loss); break;
    default: snprintf(j->line, sizeof j->line, "measuring,"); break;
    }
    progress_show(&j->run, j->line, r->done, r->total);
    return !interrupted;
}

/* ---- results ---- */

static double seconds(uint64_t ns) { return (double)ns * 1e-9; }

static void print_layer(const lever_fit_layer *l, bool chosen)
{
    printf("  %6u %10.4f %9.4f %11.4f %9.4f %8.1f%% %6.1f%% %6.1f%% %8.1f%%%s\n", l->layers, l->kd_before,
           l->kd, l->cand_before, l->cand, 100 * l->kept, 100 * l->draft_kept, 100 * l->joint_kept,
           100 * l->saved, chosen ? "  <" : "");
}

static void print_text(const char *out, const lever_fit_result *r)
{
    char a[32], b[32];
    printf("%u positions of %u windows to train on, %u held out\n\n", r->n_train, r->n_windows, r->n_held);
    printf("  %53sedges left by\n", "");
    printf("  layers  loss bare   trained  candidates   trained   scores   draft    both    saved\n");
    for (uint32_t i = 0; i < r->n_tried; i++) print_layer(&r->tried[i], r->tried[i].layers == r->best.layers);
    if (r->n_tried) printf("  trained to the end, %u steps, best after %u:\n", r->n_steps, r->n_best);
    print_layer(&r->best, false);
    printf("  edges left: of a tree, where 95%% of the target's choices stay; saved: by scores, of all "
           "layers\n");
    printf("\n             scores, softmax at %-8.3g   both, softmax of s / %.3g + %.3g ln p\n",
           (double)r->temperature, (double)r->joint_temperature, (double)r->joint_draft_weight);
    printf("  threshold  edges left  target's choices   edges left  target's choices\n");
    for (uint32_t i = 0; i < r->n_curve; i++) {
        const lever_fit_point *p = &r->curve[i];
        printf("  %9.3f %10.1f%% %16.1f%% %11.1f%% %16.1f%%\n", (double)p->threshold,
               100 * (double)p->edges_kept, 100 * (double)p->true_kept, 100 * (double)p->joint_edges_kept,
               100 * (double)p->joint_true_kept);
    }
    printf("\n%s: %s form", out, r->form);
    if (r->rank) printf(" of rank %u", r->rank);
    printf(" after %u layers, %s\n", r->best.layers, format_bytes(a, sizeof a, (double)r->sidecar_bytes));
    printf("  time          %.1f s of recording, %.1f s of training%s\n", seconds(r->record_ns),
           seconds(r->train_ns), r->resumed ? ", beside an earlier run" : "");
    printf("  disk          %s, freed\n", format_bytes(a, sizeof a, (double)r->disk_bytes));
    printf("  memory        peak %s of the limit of %s\n",
           format_bytes(a, sizeof a, (double)r->peak_rss_bytes),
           format_bytes(b, sizeof b, (double)r->mem_limit_bytes));
}

static json_t *layer_json(const lever_fit_layer *l)
{
    return json_pack("{s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "layers", (int)l->layers, "kd_before",
                     l->kd_before, "kd", l->kd, "cand_before", l->cand_before, "cand", l->cand, "kept",
                     l->kept, "draft_kept", l->draft_kept, "joint_kept", l->joint_kept, "saved", l->saved);
}

static void print_json(const char *out, const lever_fit_result *r)
{
    json_t *tried = json_array(), *curve = json_array();
    for (uint32_t i = 0; i < r->n_tried; i++) json_array_append_new(tried, layer_json(&r->tried[i]));
    for (uint32_t i = 0; i < r->n_curve; i++) {
        const lever_fit_point *p = &r->curve[i];
        json_array_append_new(
            curve, json_pack("{s:f, s:f, s:f, s:f, s:f}", "threshold", (double)p->threshold, "edges_kept",
                             (double)p->edges_kept, "true_kept", (double)p->true_kept, "joint_edges_kept",
                             (double)p->joint_edges_kept, "joint_true_kept", (double)p->joint_true_kept));
    }
    json_t *root = json_pack(
        "{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:o, s:o, s:o, s:b}", "output", out, "form",
        r->form, "rank", (int)r->rank, "train_positions", (int)r->n_train, "held_out_positions",
        (int)r->n_held, "windows", (int)r->n_windows, "steps", (int)r->n_steps, "best_step", (int)r->n_best,
        "temperature", (double)r->temperature, "joint_temperature", (double)r->joint_temperature,
        "joint_draft_weight", (double)r->joint_draft_weight, "tried", tried, "best", layer_json(&r->best),
        "curve", curve, "resumed", r->resumed);
    json_object_set_new(root, "stats",
                        json_pack("{s:f, s:f, s:I, s:I, s:I, s:I}", "record_s", seconds(r->record_ns),
                                  "train_s", seconds(r->train_ns), "disk_bytes", (json_int_t)r->disk_bytes,
                                  "sidecar_bytes", (json_int_t)r->sidecar_bytes, "peak_rss_bytes",
                                  (json_int_t)r->peak_rss_bytes, "mem_limit_bytes",
                                  (json_int_t)r->mem_limit_bytes));
    json_dumpf(root, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(root);
}

/* model.gguf -> model.exit.gguf */
static void default_out(char *out, size_t cap, const char *model)
{
    const size_t n = strlen(model), end = n > 5 && !strcmp(model + n - 5, ".gguf") ? n - 5 : n;
    snprintf(out, cap, "%.*s.exit.gguf", (int)end, model);
}

static int fit(const fit_args *a, lever_config *c, const char *out)
{
    lever_error err = { 0 };
    texts t = { 0 };
    job j = { .phase = -1 };
    lever_fit_result r;
    int rc = texts_load(&t, a->text, &err);
    if (rc >= 0) {
        c->progress = on_load;
        c->progress_user = &j;
        const lever_fit_params p = { .texts = t.items,
                                     .n_texts = t.n,
                                     .out = out,
                                     .form = a->form,
                                     .rank = a->rank,
                                     .layers = a->layers,
                                     .steps = a->steps,
                                     .positions = a->positions,
                                     .disk_bytes = a->disk,
                                     .seconds = 60.0 * (double)a->minutes,
                                     .seed = a->seed,
                                     .on_progress = on_fit,
                                     .user = &j };
        rc = lever_fit(c, &p, &r, &err);
    }
    signal(SIGINT, SIG_DFL);
    progress_clear(&j.load);
    progress_clear(&j.run);
    texts_free(&t);
    if (rc == LEVER_ECANCEL) {
        fprintf(stderr, "lever: stopped; the same command goes on from %s.fit\n", out);
        return EXIT_CANCEL;
    }
    if (rc < 0) return app_fail(rc, &err);
    errno = 0;
    if (a->json) print_json(out, &r);
    else print_text(out, &r);
    if (fflush(stdout) == 0 && !ferror(stdout)) return EXIT_OK;
    fprintf(stderr, "lever: the result can not be written to standard output: %s\n",
            strerror(errno ? errno : EIO));
    return EXIT_IO;
}

static void print_help(void)
{
    puts("usage: lever fit --text FILES [options]\n\n"
         "Trains the early-exit predictor of a model: after some of its layers it guesses which tokens of a\n"
         "tree the model will refuse, so that the layers above need not work on them. The text stays the\n"
         "same; only speed changes. Needs the draft model whose trees it will prune. After Ctrl-C the same\n"
         "command goes on.");
    options_help(options, sizeof options / sizeof *options);
}

int cmd_fit(int argc, char **argv)
{
    static fit_args a; /* static: holds paths, too large for a frame */
    static char out[4200];
    const char *none[1];
    int n;
    model_args_init(&a.model);
    if (options_parse(options, sizeof options / sizeof *options, &a, argc, argv, 2, none, 0, &n))
        return EXIT_USAGE;
    if (a.help) {
        print_help();
        return EXIT_OK;
    }
    if (!a.text) {
        fputs("lever: fit needs text: --text FILES; see lever fit --help\n", stderr);
        return EXIT_USAGE;
    }
    lever_config c;
    const int usage = model_args_config(&a.model, &c);
    if (usage) return usage;
    if (a.out) snprintf(out, sizeof out, "%s", a.out);
    else default_out(out, sizeof out, c.model_path);
    signal(SIGPIPE, SIG_IGN); /* a closed reader is a write error, not a silent death */
    return fit(&a, &c, out);
}
