/* `lever plan`: which configuration is fastest on this machine, before any is tried (docs/plan.md).
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "bench_setup.h"
#include "plan_machine.h"
#include "plan_measure.h"
#include "plan_report.h"
#include "text_file.h"

enum { LIMITS_MOST = 16 };

typedef struct plan_args {
    model_args  model;
    const char *mem, *policies, *file;
    float       measure, temperature;
    uint32_t    positions, n_predict;
    bool        json, help;
} plan_args;

static const option options[] = {
    { NULL, OPTION_FLAG, NULL, "what is compared", 0 },
    { "--policies", OPTION_TEXT, "LIST", "as lever bench takes it; default: none, chains of 1 to 12, lever",
      offsetof(plan_args, policies) },
    { "--temp", OPTION_FLOAT, "T", "texts are drawn with this temperature; default 0.8",
      offsetof(plan_args, temperature) },
    { "-n --n-predict", OPTION_U32, "N", "tokens of an answer: short ones gain less; default 0: long",
      offsetof(plan_args, n_predict) },
    { "--positions", OPTION_U32, "N", "of context that a token looks back on, in the mean; default 256",
      offsetof(plan_args, positions) },
    { "--measure", OPTION_FLOAT, "S", "first run the models for S seconds and count how often the draft\nis right",
      offsetof(plan_args, measure) },
    { "-f --file", OPTION_TEXT, "FILE", "with --measure: a text to continue; default: some of several kinds",
      offsetof(plan_args, file) },
    MODEL_FILE_OPTIONS(plan_args, model),
    AHEAD_OPTION(plan_args, model),
    PRUNE_OPTIONS(plan_args, model),
    LEARN_OPTION(plan_args, model),
    { NULL, OPTION_FLAG, NULL, "resources", 0 },
    { "--mem", OPTION_TEXT, "SIZES",
      "hard memory limit, e.g. 3GiB, or several: 1.5GiB,2GiB,3GiB;\ndefault: 3/4 of what is free",
      offsetof(plan_args, mem) },
    MODEL_OTHER_RESOURCE_OPTIONS(plan_args, model, "context in tokens; default: the model's, at most 4096"),
    { NULL, OPTION_FLAG, NULL, "output", 0 },
    { "--json", OPTION_FLAG, NULL, "one JSON object on stdout", offsetof(plan_args, json) },
    { "-h --help", OPTION_FLAG, NULL, "this page", offsetof(plan_args, help) },
};

typedef struct plan_run {
    plan_args   *args;
    lever_config config;
    lever_advise_params params;
    bench_setup  setup;    /* its policies only */
    uint64_t     limits[LIMITS_MOST];
    uint32_t     n_limits;
    lever_advice *advices; /* [n_limits] */
} plan_run;

static int compare_limits(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* "1.5GiB,2GiB". False, after a message: not a list of sizes. */
static bool read_limits(plan_run *r, const char *text)
{
    char part[64];
    if (!text) return r->n_limits = 1, true;
    for (const char *at = text; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        const size_t n = strcspn(at, ",");
        snprintf(part, sizeof part, "%.*s", (int)(n < sizeof part ? n : sizeof part - 1), at);
        if (r->n_limits == LIMITS_MOST || !option_bytes(part, &r->limits[r->n_limits]) || !r->limits[r->n_limits]) {
            fprintf(stderr, "lever: option '--mem' needs at most %d sizes such as 512MiB,3GiB, not '%s'\n", LIMITS_MOST,
                    text);
            return false;
        }
        r->n_limits++;
    }
    qsort(r->limits, r->n_limits, sizeof *r->limits, compare_limits);
    return true;
}

static int advise(plan_run *r, uint64_t limit, bool quick, lever_advice *out, lever_error *err)
{
    lever_config c = r->config;
    lever_advise_params p = r->params;
    c.mem_bytes = limit;
    p.quick = quick;
    return lever_advise(&c, &p, out, err);
}

static double best_speed(const lever_advice *a) { return a->any ? a->choices[a->best].tokens_per_s : 0; }

/* The smallest limit that is as good as any amount, by halving. 0: a larger one than those asked for, or none. */
static uint64_t find_enough(plan_run *r, double *speed, double *most, lever_error *err)
{
    static const double as_good = 0.97;
    static lever_advice a; /* too large for a frame */
    const uint64_t ample = UINT64_C(1) << 46;
    if (advise(r, ample, true, &a, err) < 0 || !a.any) return 0;
    *most = best_speed(&a);
    uint64_t high = 0, low = r->limits[0];
    for (uint32_t i = 0; i < a.n_choices; i++)
        if (a.choices[i].fits && a.choices[i].planned_bytes > high) high = a.choices[i].planned_bytes;
    while (high > low + high / 128) {
        const uint64_t mid = low + (high - low) / 2;
        if (advise(r, mid, true, &a, err) < 0) return 0;
        if (best_speed(&a) >= as_good * *most) high = mid, *speed = best_speed(&a);
        else low = mid;
    }
    return *speed > 0 ? high : 0;
}

static int print_json(const plan_run *r, uint64_t enough, double speed)
{
    json_t *root = json_object(), *plans = json_array();
    for (uint32_t i = 0; i < r->n_limits; i++) json_array_append_new(plans, plan_report_json(&r->advices[i]));
    json_object_set_new(root, "machine", json_string(r->params.machine->id.cpu));
    json_object_set_new(root, "measured", json_string(r->params.machine->measured));
    json_object_set_new(root, "plans", plans);
    if (enough)
        json_object_set_new(root, "enough", json_pack("{s:I, s:f}", "limit_bytes", (json_int_t)enough, "tokens_per_s",
                                                      speed));
    const bool ok = json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) == 0 && putchar('\n') != EOF &&
                    fflush(stdout) == 0;
    json_decref(root);
    return ok ? EXIT_OK : EXIT_IO;
}

static int report(plan_run *r, lever_error *err)
{
    for (uint32_t i = 0; i < r->n_limits; i++) {
        const int rc = advise(r, r->limits[i], false, &r->advices[i], err);
        if (rc < 0) return app_fail(rc, err);
    }
    double speed = 0, most = 0;
    const uint64_t enough = r->n_limits > 1 ? find_enough(r, &speed, &most, err) : 0;
    bool any = false;
    for (uint32_t i = 0; i < r->n_limits; i++) any = any || r->advices[i].any;
    if (r->args->json) {
        const int code = print_json(r, enough, speed);
        return code == EXIT_OK && !any ? EXIT_LIMIT : code;
    }
    if (r->n_limits == 1) plan_report_table(&r->advices[0]);
    else plan_report_limits(r->advices, r->n_limits);
    if (enough) plan_report_enough(enough, speed, most);
    if (fflush(stdout) || ferror(stdout)) return EXIT_IO;
    return any ? EXIT_OK : EXIT_LIMIT;
}

static int measure(plan_run *r, lever_error *err)
{
    size_t n;
    lever_config c = r->config;
    char *text = r->args->file ? text_file_read(r->args->file, &n, err) : NULL;
    if (r->args->file && !text) return err->code;
    c.mem_bytes = r->limits[r->n_limits - 1];
    const int rc = plan_measure(&c, text, (double)r->args->measure, r->args->temperature, err);
    free(text);
    return rc;
}

static int choose_policies(plan_run *r, lever_error *err)
{
    static bench_args b; /* holds paths, too large for a frame */
    if (!r->args->policies) return LEVER_OK;
    b.policies = r->args->policies;
    const int rc = bench_setup_policies(&r->setup, &b, err);
    r->params.policies = r->setup.policies;
    r->params.n_policies = r->setup.n_policies;
    return rc;
}

static int plan(plan_run *r)
{
    char why[256];
    lever_error err = { 0 };
    const plan_args *a = r->args;
    if (!plan_machine_load(&r->params, &a->model, &r->config, a->temperature, why, sizeof why)) {
        fprintf(stderr, "lever: %s\n", why);
        return EXIT_USAGE;
    }
    r->params.n_positions = a->positions;
    r->params.n_tokens = a->n_predict;
    int rc = choose_policies(r, &err);
    if (rc >= 0 && a->measure > 0) rc = measure(r, &err);
    if (rc < 0) return app_fail(rc, &err);
    r->advices = calloc(r->n_limits, sizeof *r->advices);
    if (!r->advices) return app_fail(LEVER_ENOMEM, &err);
    return report(r, &err);
}

int cmd_plan(int argc, char **argv)
{
    static plan_args a; /* static: holds paths, too large for a frame */
    static plan_run r;
    a = (plan_args){ .temperature = 0.8f };
    const char *none[1];
    int n;
    const size_t n_options = sizeof options / sizeof *options;
    model_args_init(&a.model);
    if (options_parse(options, n_options, &a, argc, argv, 2, none, 0, &n)) return EXIT_USAGE;
    if (a.help) {
        puts("usage: lever plan [options]\n\n"
             "Predicts from the machine's profile how fast these models run with every policy, device and split\n"
             "of memory, and says which is best and why. Nothing is run.");
        options_help(options, n_options);
        return EXIT_OK;
    }
    r.args = &a;
    if (!read_limits(&r, a.mem)) return EXIT_USAGE;
    const int usage = model_args_config(&a.model, &r.config);
    if (usage) return usage;
    const int code = plan(&r);
    free(r.advices);
    bench_setup_free(&r.setup);
    return code;
}
