/* `lever inspect MODEL`: settings, tensors, memory plan. SPDX-License-Identifier: MIT */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "app.h"
#include "lever/file.h"
#include "inspect_sums.h"
#include "model_args.h"

typedef struct inspect_args {
    model_args model;
    bool tensors, json, checksum, verify, help;
} inspect_args;

static const option options[] = {
    { NULL, OPTION_FLAG, NULL, "output", 0 },
    { "--tensors", OPTION_FLAG, NULL, "list every tensor, not only a summary",
      offsetof(inspect_args, tensors) },
    { "--json", OPTION_FLAG, NULL, "one JSON object on stdout", offsetof(inspect_args, json) },
    { "-h --help", OPTION_FLAG, NULL, "this page", offsetof(inspect_args, help) },
    { NULL, OPTION_FLAG, NULL, "integrity (both read the whole file)", 0 },
    { "--checksum", OPTION_FLAG, NULL, "write checksums of a good file to MODEL.sums",
      offsetof(inspect_args, checksum) },
    { "--verify", OPTION_FLAG, NULL, "compare the file with MODEL.sums; exit code 7 if it is damaged",
      offsetof(inspect_args, verify) },
    MODEL_OPTIONS(inspect_args, model),
};

static void print_keys(const lever_info *info)
{
    char key[256], value[160], size[32];
    printf("GGUF version %u, %s, %zu keys, %zu tensors\n\n", lever_info_version(info),
           format_bytes(size, sizeof size, (double)lever_info_file_bytes(info)), lever_info_n_keys(info),
           lever_info_n_tensors(info));
    for (size_t i = 0; i < lever_info_n_keys(info); i++) {
        lever_info_key(info, i, key, sizeof key, value, sizeof value);
        printf("  %-44s %s\n", key, value);
    }
}

static void print_shape(char *buf, size_t cap, const lever_tensor *t)
{
    size_t at = 0;
    for (uint32_t d = 0; d < t->n_dims && at < cap; d++)
        at += (size_t)snprintf(buf + at, cap - at, d ? " x %llu" : "%llu", (unsigned long long)t->dims[d]);
}

static void print_tensors(const lever_info *info, bool all)
{
    char shape[96], size[32];
    struct { const char *type; uint64_t n, bytes; } sums[64] = { { 0 } };
    size_t n_sums = 0;
    for (size_t i = 0; i < lever_info_n_tensors(info); i++) {
        lever_tensor t;
        lever_info_tensor(info, i, &t);
        size_t k = 0;
        while (k < n_sums && strcmp(sums[k].type, t.type)) k++;
        if (k == n_sums) sums[n_sums++].type = t.type;
        sums[k].n++;
        sums[k].bytes += t.bytes;
        if (!all) continue;
        if (i == 0)
            printf("\n  %-32s %-7s %-22s %12s %14s\n", "tensor", "type", "rows x columns", "bytes", "offset");
        print_shape(shape, sizeof shape, &t);
        printf("  %-32s %-7s %-22s %12llu %14llu\n", t.name, t.type, shape, (unsigned long long)t.bytes,
               (unsigned long long)t.offset);
    }
    printf("\nweights\n");
    for (size_t k = 0; k < n_sums; k++)
        printf("  %-8s %5llu tensors  %10s\n", sums[k].type, (unsigned long long)sums[k].n,
               format_bytes(size, sizeof size, (double)sums[k].bytes));
}

static void print_plan(const lever_plan *p)
{
    char a[32], b[32];
    printf("\nmemory plan for a limit of %s, context %u, sweeps of up to %u rows\n",
           format_bytes(a, sizeof a, (double)p->limit_bytes), p->n_ctx, p->max_rows);
    for (uint32_t i = 0; i < p->n_lines; i++)
        printf("  %-36s %10s\n", p->lines[i].label, format_bytes(a, sizeof a, (double)p->lines[i].bytes));
    printf("  %-36s %10s\n", "total", format_bytes(a, sizeof a, (double)p->total_bytes));
    if (!p->fits) {
        printf("this does not fit: at least %s are needed\n", format_bytes(a, sizeof a, (double)p->needed_bytes));
        return;
    }
    printf("each sweep reads %s from flash; %s of the model stay in memory%s\n",
           format_bytes(a, sizeof a, (double)p->streamed_bytes), format_bytes(b, sizeof b, (double)p->resident_bytes),
           p->head_resident ? "" : "; the output head is streamed too");
    if (p->lent_bytes)
        printf("texts of up to 256 tokens leave room for another %s, so that sweeps read %s\n",
               format_bytes(a, sizeof a, (double)p->lent_bytes),
               format_bytes(b, sizeof b, (double)(p->streamed_bytes - p->lent_bytes)));
}

static json_t *plan_json(const lever_plan *p)
{
    json_t *lines = json_array();
    for (uint32_t i = 0; i < p->n_lines; i++)
        json_array_append_new(lines, json_pack("{s:s, s:I}", "label", p->lines[i].label, "bytes",
                                               (json_int_t)p->lines[i].bytes));
    return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:b, s:o}", "fits", p->fits, "limit_bytes",
                     (json_int_t)p->limit_bytes, "total_bytes", (json_int_t)p->total_bytes, "needed_bytes",
                     (json_int_t)p->needed_bytes, "resident_bytes", (json_int_t)p->resident_bytes,
                     "streamed_bytes", (json_int_t)p->streamed_bytes, "lent_bytes",
                     (json_int_t)p->lent_bytes, "n_ctx", (int)p->n_ctx, "max_rows",
                     (int)p->max_rows, "head_resident", p->head_resident, "lines", lines);
}

static int print_json(const lever_info *info, const lever_plan *plan)
{
    json_t *root = json_object(), *keys = json_object(), *tensors = json_array();
    char key[256], value[4096];
    for (size_t i = 0; i < lever_info_n_keys(info); i++) {
        lever_info_key(info, i, key, sizeof key, value, sizeof value);
        json_object_set_new(keys, key, json_string(value));
    }
    for (size_t i = 0; i < lever_info_n_tensors(info); i++) {
        lever_tensor t;
        lever_info_tensor(info, i, &t);
        json_t *dims = json_array();
        for (uint32_t d = 0; d < t.n_dims; d++)
            json_array_append_new(dims, json_integer((json_int_t)t.dims[d]));
        json_array_append_new(tensors,
                              json_pack("{s:s, s:s, s:o, s:I, s:I}", "name", t.name, "type", t.type, "shape",
                                        dims, "offset", (json_int_t)t.offset, "bytes", (json_int_t)t.bytes));
    }
    json_object_set_new(root, "version", json_integer(lever_info_version(info)));
    json_object_set_new(root, "file_bytes", json_integer((json_int_t)lever_info_file_bytes(info)));
    json_object_set_new(root, "keys", keys);
    json_object_set_new(root, "tensors", tensors);
    if (plan) json_object_set_new(root, "plan", plan_json(plan));
    const bool ok =
        json_dumpf(root, stdout, JSON_INDENT(1)) == 0 && putchar('\n') != EOF && fflush(stdout) == 0;
    json_decref(root);
    return ok ? EXIT_OK : EXIT_IO;
}

/* A sidecar has keys and tensors as a model has, but nothing to plan. */
static bool is_sidecar(const lever_info *info)
{
    char key[64], value[64];
    for (size_t i = 0; i < lever_info_n_keys(info); i++)
        if (lever_info_key(info, i, key, sizeof key, value, sizeof value) >= 0 &&
            !strcmp(key, "general.architecture"))
            return !strcmp(value, "lever-exit");
    return false;
}

int cmd_inspect(int argc, char **argv)
{
    static inspect_args a; /* static: holds paths, too large for a frame */
    model_args_init(&a.model);
    const char *path[1] = { NULL };
    int n;
    const size_t n_options = sizeof options / sizeof *options;
    if (options_parse(options, n_options, &a, argc, argv, 2, path, 1, &n)) return EXIT_USAGE;
    if (a.help) {
        puts("usage: lever inspect MODEL.gguf [options]\n\n"
             "Shows hyper-parameters, weight types and the memory plan 'lever run' would follow; or keeps\n"
             "checksums of the file and finds damage with them.");
        options_help(options, n_options);
        return EXIT_OK;
    }
    if (path[0]) a.model.model = path[0];
    lever_config c;
    const int usage = model_args_config(&a.model, &c);
    if (usage) return usage;
    if (a.checksum && a.verify) {
        fputs("lever: give one of --checksum and --verify\n", stderr);
        return EXIT_USAGE;
    }
    if (a.checksum) return inspect_checksum(c.model_path, a.json);
    if (a.verify) return inspect_verify(c.model_path, a.json);
    lever_info *info;
    static lever_plan plan;
    lever_error err = { 0 }, plan_err = { 0 };
    int rc = lever_info_open(&info, c.model_path, &err);
    if (rc < 0) return app_fail(rc, &err);
    /* A model this build can not run is still shown; only its plan is missing. */
    const bool sidecar = is_sidecar(info);
    const int plan_rc = sidecar ? LEVER_OK : lever_plan_memory(&c, &plan, &plan_err);
    int code = EXIT_OK;
    if (a.json) {
        code = print_json(info, plan_rc < 0 || sidecar ? NULL : &plan);
    } else {
        print_keys(info);
        print_tensors(info, a.tensors);
        if (plan_rc >= 0 && !sidecar) print_plan(&plan);
    }
    if (plan_rc < 0) {
        fputs("\nno memory plan: ", stderr);
        code = app_fail(plan_rc, &plan_err);
    }
    lever_info_close(&info);
    return code;
}
