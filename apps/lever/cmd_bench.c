/* `lever bench`: policies, and divisions of memory, on the same prompts in turn. Tables to stdout.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "bench_plot.h"
#include "bench_run.h"
#include "bench_summary.h"

static const option options[] = {
    { NULL, OPTION_FLAG, NULL, "what is compared", 0 },
    { "--policies --policy", OPTION_TEXT, "LIST",
      "policies, the first is what the others are compared with; separated\n"
      "by semicolons, spaces, or commas before a policy's name:\n"
      "none,chain:8,tree:4,2,1; default none,chain:8,lever",
      offsetof(bench_args, policies) },
    { "--prompts", OPTION_TEXT, "FILES",
      "files as for lever run, separated by commas, or given without an\n"
      "option after it; each is a kind of its own in the tables",
      offsetof(bench_args, prompts) },
    { "--limit", OPTION_U32, "N", "N prompts of each file, from all over it; default all",
      offsetof(bench_args, limit) },
    { "--rounds", OPTION_U32, "R", "everything R times; default 1", offsetof(bench_args, rounds) },
    { "--sweep-mem", OPTION_TEXT, "LIST",
      "in place of --mem: limits that keep 0,20,40,... percent of the\n"
      "target's matrices in memory",
      offsetof(bench_args, sweep_mem) },
    { "--residency", OPTION_TEXT, "LIST",
      "which weights stay in memory: spread (of each layer the same share),\n"
      "first (whole first layers), none; several are compared",
      offsetof(bench_args, residency) },
    { NULL, OPTION_FLAG, NULL, "text", 0 },
    { "-n --n-predict", OPTION_U32, "N", "new tokens of each answer; default 128",
      offsetof(bench_args, n_predict) },
    { "--ignore-eos", OPTION_FLAG, NULL, "go on after end-of-text tokens", offsetof(bench_args, ignore_eos) },
    { "--raw", OPTION_FLAG, NULL, "continue messages as plain text, without chat marks",
      offsetof(bench_args, raw) },
    CHAT_OPTIONS(bench_args, chat),
    { "--temp", OPTION_FLOAT, "T", "temperature; default 0 = always the likeliest token",
      offsetof(bench_args, temperature) },
    { "-s --seed", OPTION_U64, "N", "default 0", offsetof(bench_args, seed) },
    VERIFY_OPTION(bench_args, model),
    PROJECT_OPTIONS(bench_args, model),
    MODEL_FILE_OPTIONS(bench_args, model),
    PRUNE_OPTIONS(bench_args, model),
    MODEL_RESOURCE_OPTIONS(bench_args, model, "context in tokens; default: the model's, at most 4096"),
    { NULL, OPTION_FLAG, NULL, "output", 0 },
    { "--csv", OPTION_TEXT, "FILE", "append a row per prompt and policy", offsetof(bench_args, csv) },
    { "--resume", OPTION_FLAG, NULL, "with --csv: take over rows that are there already, measure the others",
      offsetof(bench_args, resume) },
    { "--plot", OPTION_TEXT, "FILE", "draw the result as .svg or .png; needs gnuplot",
      offsetof(bench_args, plot) },
    { "--calibration", OPTION_TEXT, "FILE",
      "draw how often candidates came true against the probability that a\n"
      "policy (lever) gave them, as .svg or .png; needs gnuplot",
      offsetof(bench_args, calibration) },
    { "--json", OPTION_FLAG, NULL, "one JSON object on stdout: settings, rows, summary",
      offsetof(bench_args, json) },
    { "-h --help", OPTION_FLAG, NULL, "this page", offsetof(bench_args, help) },
};
enum { N_OPTIONS = sizeof options / sizeof *options };

/* Everything of one run; static, as it is too large for a frame. */
static struct bench {
    bench_args    args;
    bench_setup   setup;
    bench_csv     csv;
    bench_rows    rows;
    bench_result  result;
    bench_summary summary;
} bench;

/* EXIT_USAGE after a message, or EXIT_OK. */
static int check_args(const bench_args *a)
{
    const char *what = NULL;
    if (a->resume && !a->csv) what = "--resume needs the file to go on with: --csv FILE";
    else if (a->plot && !bench_plot_knows(a->plot)) what = "--plot needs a name that ends in .svg or .png";
    else if (a->calibration && !bench_plot_knows(a->calibration))
        what = "--calibration needs a name that ends in .svg or .png";
    else if (a->sweep_mem && a->model.mem) what = "--sweep-mem chooses the limits itself: leave out --mem";
    else if (a->sweep_mem && a->model.no_pin) what = "--no-pin keeps nothing, so it can not keep a share";
    else if (a->residency && (a->model.no_pin || a->model.pin_first))
        what = "--residency takes the place of --pin-first and --no-pin";
    else if (a->rounds == 0) what = "--rounds needs a whole number, 1 or more";
    if (!what) return chat_args_check(&a->chat);
    fprintf(stderr, "lever: %s\n", what);
    return EXIT_USAGE;
}

/* All that can be wrong without a model is found before one is loaded. */
static int prepare(struct bench *b)
{
    lever_error err = { 0 };
    progress shown = { 0 };
    int rc = bench_setup_policies(&b->setup, &b->args, &err);
    if (rc >= 0) rc = bench_setup_prompts(&b->setup, &err);
    if (rc < 0) return app_fail(rc, &err);
    const int usage = model_args_config(&b->args.model, &b->setup.config);
    if (usage) return usage;
    rc = bench_setup_cells(&b->setup, &shown, &err);
    if (rc >= 0 && b->args.csv) rc = bench_csv_open(&b->csv, b->args.csv, &err);
    if (rc < 0) return app_fail(rc, &err);
    if ((b->args.plot || b->args.calibration) && !bench_plot_possible())
        fputs("lever: gnuplot is not installed (package gnuplot-nox): no picture will be drawn\n", stderr);
    return EXIT_OK;
}

/* ---- results ---- */

static const char *state_of(const bench_result *r, int rc)
{
    return r->texts_differ ? "texts differ" : rc < 0 ? "error" : r->cancelled ? "cancel" : "end";
}

/* What policies that state probabilities expected, and what came of it. */
static void sum_expected(const bench_rows *rows, double *tokens, double *seconds)
{
    double expected[2] = { 0 }, got[2] = { 0 };
    for (size_t i = 0; i < rows->n; i++) {
        const bench_row *r = &rows->items[i];
        if (!(r->expected_tokens > 0)) continue;
        expected[0] += r->expected_tokens, expected[1] += r->expected_s;
        got[0] += (double)r->decode_tokens, got[1] += r->decode_s;
    }
    *tokens = got[0] > 0 ? expected[0] / got[0] : NAN;
    *seconds = got[1] > 0 ? expected[1] / got[1] : NAN;
}

static void print_calibration(const struct bench *b)
{
    double tokens, seconds;
    sum_expected(&b->rows, &tokens, &seconds);
    if (isnan(tokens)) return;
    printf("\nexpected by policies that say so, of what was measured: tokens per cycle %.2f, time per cycle %.2f\n",
           tokens, seconds);
    const stats_calibration *c = &b->result.guesses;
    if (stats_calibration_count(c) > 0)
        printf("calibration: %.0f guesses, expected calibration error %.3f\n", stats_calibration_count(c),
               stats_calibration_error(c));
}

static json_t *calibration_json(const struct bench *b)
{
    double tokens, seconds;
    const stats_calibration *c = &b->result.guesses;
    json_t *bins = json_array();
    sum_expected(&b->rows, &tokens, &seconds);
    for (int i = 0; i < STATS_BINS; i++)
        if (c->n[i] > 0)
            json_array_append_new(bins, json_pack("{s:f, s:f, s:f}", "guesses", c->n[i], "stated",
                                                  c->stated[i] / c->n[i], "right", c->right[i] / c->n[i]));
    json_t *o = json_pack("{s:f, s:o}", "guesses", stats_calibration_count(c), "bins", bins);
    if (stats_calibration_count(c) > 0)
        json_object_set_new(o, "error", json_real(stats_calibration_error(c)));
    if (!isnan(tokens)) json_object_set_new(o, "expected_tokens_of_measured", json_real(tokens));
    if (!isnan(seconds)) json_object_set_new(o, "expected_time_of_measured", json_real(seconds));
    return o;
}

static void print_json(const struct bench *b, int rc, const lever_error *err)
{
    const bench_setup *s = &b->setup;
    json_t *rows = json_array(), *policies = json_array();
    for (size_t i = 0; i < b->rows.n; i++) json_array_append_new(rows, bench_row_json(&b->rows.items[i]));
    for (uint32_t i = 0; i < s->n_policies; i++)
        json_array_append_new(policies, json_string(s->policies[i]));
    json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:o, s:i, s:i, s:i, s:o, s:o}", "stop",
                             state_of(&b->result, rc), "version", lever_version(), "machine",
                             b->result.machine, "options", b->result.options, "policies", policies,
                             "measured", (int)b->result.n_measured, "resumed", (int)b->result.n_resumed,
                             "left_out", (int)b->result.n_left_out, "rows", rows, "summary",
                             bench_summary_json(&b->summary, s));
    json_object_set_new(root, "verify", json_string(s->config.verify ? s->config.verify : "match"));
    json_object_set_new(root, "calibration", calibration_json(b));
    if (rc < 0 || b->result.texts_differ) json_object_set_new(root, "error", json_string(err->msg));
    json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(root);
}

static void print_text(const struct bench *b)
{
    const bench_setup *s = &b->setup;
    const bench_row *r = &b->rows.items[0];
    char size[32];
    printf("%s%s%s; %s; %s, %llu threads, %s\n", path_name(s->config.model_path), *r->draft ? " with " : "",
           r->draft, b->result.machine, r->isa, (unsigned long long)r->threads, r->io);
    printf("%llu new tokens, temperature %g, verified by %s, context %llu", (unsigned long long)r->n_predict,
           r->temperature, r->verify, (unsigned long long)r->ctx);
    if (s->n_cells == 1) {
        const uint64_t all = r->resident_bytes + r->streamed_bytes;
        printf("; limit %s", format_bytes(size, sizeof size, (double)r->mem_limit_bytes));
        printf(", %.1f%% of the target's matrices in memory (%s)",
               all ? 100 * (double)r->resident_bytes / (double)all : 0.0, r->residency);
    }
    if (b->result.n_resumed) printf("; %u of %zu rows were there already", b->result.n_resumed, b->rows.n);
    fputs("\n\n", stdout);
    bench_summary_print(&b->summary, s);
    print_calibration(b);
}

/* EXIT_OK, or another after a message. */
static int report(struct bench *b, int rc, const lever_error *run_err)
{
    lever_error err = { 0 };
    int code = EXIT_OK;
    const int made = bench_summary_make(&b->summary, &b->setup, &b->rows, &err);
    if (made < 0) return app_fail(made, &err);
    errno = 0;
    if (b->args.json) print_json(b, rc, run_err);
    else if (b->rows.n) print_text(b);
    else fputs("lever: nothing was measured\n", stderr);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "lever: the result can not be written to standard output: %s\n",
                strerror(errno ? errno : EIO));
        code = EXIT_IO;
    }
    int drawn = b->args.plot && b->rows.n ? bench_plot(b->args.plot, &b->setup, &b->summary, &err) : 0;
    if (drawn >= 0 && b->args.calibration)
        drawn = bench_plot_calibration(b->args.calibration, &b->result.guesses, &err);
    if (drawn < 0) {
        const int plot_code = app_fail(drawn, &err);
        if (code == EXIT_OK) code = plot_code;
    }
    return code;
}

static int measure(struct bench *b)
{
    lever_error err = { 0 }, csv_err = { 0 };
    const int rc = bench_run(&b->setup, &b->csv, &b->rows, &b->result, &err);
    int code = report(b, rc, &err);
    const int closed = bench_csv_close(&b->csv, &csv_err);
    if (rc < 0) return app_fail(rc, &err);
    if (closed < 0) return app_fail(closed, &csv_err);
    if (b->result.texts_differ) {
        fprintf(stderr, "lever: TEXTS DIFFER: %s\n", err.msg);
        return EXIT_CHECK;
    }
    if (b->result.cancelled) return EXIT_CANCEL;
    return code == EXIT_OK && b->result.n_left_out ? EXIT_LIMIT : code;
}

int cmd_bench(int argc, char **argv)
{
    struct bench *b = &bench;
    b->args = (bench_args){ .policies = "none,chain:8,lever", .n_predict = 128, .rounds = 1 };
    model_args_init(&b->args.model);
    if (options_parse(options, N_OPTIONS, &b->args, argc, argv, 2, b->args.more_files, BENCH_MAX_FILES,
                      &b->args.n_more_files))
        return EXIT_USAGE;
    if (b->args.help) {
        puts("usage: lever bench --policies LIST --prompts FILE [FILE...] [options]\n\n"
             "Answers the same prompts with several policies in turn, on one open model, and compares\n"
             "their speed. The texts must be the same (but for --verify); exit code 7 if they are not.");
        options_help(options, N_OPTIONS);
        return EXIT_OK;
    }
    int code = check_args(&b->args);
    if (code != EXIT_OK) return code;
    signal(SIGPIPE, SIG_IGN); /* a closed reader is a write error, not a silent death */
    lever_error ignored;
    code = prepare(b);
    if (code == EXIT_OK) code = measure(b);
    bench_csv_close(&b->csv, &ignored);
    bench_summary_free(&b->summary);
    bench_rows_free(&b->rows);
    bench_setup_free(&b->setup);
    return code;
}
