/* `lever serve`: answers over HTTP, as OpenAI's API asks for them. docs/server.md.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "serve.h"
#include "serve_guard.h"
#include "serve_http.h"

static const option options[] = {
    { NULL, OPTION_FLAG, NULL, "server", 0 },
    { "--host", OPTION_TEXT, "ADDRESS", "address to listen on; default 127.0.0.1: this machine only",
      offsetof(serve_args, host) },
    { "--port", OPTION_U32, "N", "default 8080; 0 takes a free one and prints it",
      offsetof(serve_args, port) },
    { "-np --parallel", OPTION_U32, "N", "conversations answered at once; default 4, or fewer by memory",
      offsetof(serve_args, parallel) },
    { "-n --n-predict", OPTION_U32, "N", "tokens of an answer at most; default 0 = as requests say",
      offsetof(serve_args, max_tokens) },
    { "--alias", OPTION_TEXT, "NAME", "name of the model for clients; default: that of its file",
      offsetof(serve_args, alias) },
    CHAT_OPTIONS(serve_args, chat),
    { "--keep-disk", OPTION_BYTES, "SIZE",
      "conversations without a place are kept on disk up to this size;\n"
      "default 1GiB, 0 = none",
      offsetof(serve_args, disk) },
    { NULL, OPTION_FLAG, NULL, "who may ask", 0 },
    { "--api-key", OPTION_TEXT, "KEY", "clients must have this key (also: LEVER_API_KEY in the environment)",
      offsetof(serve_args, api_key) },
    { "--api-key-file", OPTION_TEXT, "FILE", "one key in each line", offsetof(serve_args, api_key_file) },
    { "--cors", OPTION_TEXT, "ORIGIN", "pages of this origin (https://example.org) may ask; default none",
      offsetof(serve_args, cors) },
    { "--allow-host", OPTION_TEXT, "NAMES", "further names under which clients may know this server",
      offsetof(serve_args, allow_host) },
    { NULL, OPTION_FLAG, NULL, "limits", 0 },
    { "--queue", OPTION_U32, "N", "requests that may wait for a place; default 32, then 429",
      offsetof(serve_args, queue) },
    { "--connections", OPTION_U32, "N", "open connections; default 64", offsetof(serve_args, connections) },
    { "--per-ip", OPTION_U32, "N", "open connections of one address; default: all",
      offsetof(serve_args, per_ip) },
    { "--max-body", OPTION_BYTES, "SIZE", "longest body of a request; default 1MiB",
      offsetof(serve_args, max_body) },
    { "--timeout", OPTION_U32, "S", "seconds to send a request or to read an answer; default 30",
      offsetof(serve_args, timeout_s) },
    { "--grace", OPTION_U32, "S", "seconds that running answers have at the end; default 10",
      offsetof(serve_args, grace_s) },
    MODEL_OPTIONS(serve_args, model),
    LEARN_OPTION(serve_args, model),
    SAMPLING_OPTIONS(serve_args, sampling),
    { NULL, OPTION_FLAG, NULL, "output", 0 },
    { "--log-json", OPTION_FLAG, NULL, "requests as lines of JSON", offsetof(serve_args, log_json) },
    { "-q --quiet", OPTION_FLAG, NULL, "no line for each request", offsetof(serve_args, quiet) },
    { "-h --help", OPTION_FLAG, NULL, "this page", offsetof(serve_args, help) },
};

static void set_defaults(serve_args *a)
{
    *a = (serve_args){ .host = "127.0.0.1", .port = 8080, .queue = 32, .connections = 64, .max_body = 1 << 20,
                       .timeout_s = 30, .grace_s = 10, .disk = 1 << 30 };
    model_args_init(&a->model);
    lever_sampling_init(&a->sampling);
}

static int check_args(serve_args *a, int argc, char **argv)
{
    for (int i = 2; i < argc; i++) /* a seed of 0 is one, too */
        a->has_seed |= !strcmp(argv[i], "-s") || !strncmp(argv[i], "--seed", 6);
    a->seed = a->sampling.seed;
    if (a->port > 65535 || a->max_body < 1024 || a->max_body > 64 << 20 || a->parallel > SERVE_SLOTS_MOST ||
        a->timeout_s == 0 || a->queue > 4096) {
        fprintf(stderr,
                "lever: --port is at most 65535, --max-body from 1KiB to 64MiB, --parallel at most %d, "
                "--queue at most 4096, --timeout 1 or more\n",
                SERVE_SLOTS_MOST);
        return EXIT_USAGE;
    }
    return chat_args_check(&a->chat);
}

/* A request of a second, and the next one after a while: what it took must go back to the system in
 * between. */
static void set_malloc(void)
{
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 65536);
    mallopt(M_TRIM_THRESHOLD, 131072);
#endif
}

static void name_model(server *s)
{
    const char *path = s->config.model_path, *slash = strrchr(path, '/');
    snprintf(s->model, sizeof s->model, "%s", s->args.alias ? s->args.alias : slash ? slash + 1 : path);
    const size_t n = strlen(s->model);
    if (!s->args.alias && n > 5 && !strcmp(s->model + n - 5, ".gguf")) s->model[n - 5] = '\0';
}

/* The next signal, within a tenth of a second; 0: none. */
static int next_signal(const sigset_t *set)
{
    const struct timespec wait = { .tv_nsec = 100000000 };
    const int sig = sigtimedwait(set, NULL, &wait);
    return sig > 0 ? sig : 0;
}

static bool engine_over(server *s)
{
    pthread_mutex_lock(&s->lock);
    const bool over = s->engine_over;
    pthread_mutex_unlock(&s->lock);
    return over;
}

static void greet(server *s, uint16_t port)
{
    const bool six = strchr(s->args.host, ':') != NULL;
    char mem[32];
    fprintf(stderr, "lever: serving %s at http://%s%s%s:%u\n", s->model, six ? "[" : "", s->args.host,
            six ? "]" : "", port);
    serve_log(s, "%u at once, context %u, policy %s, memory %s", s->n_slots, s->info.n_ctx, s->info.policy,
              format_bytes(mem, sizeof mem, (double)s->info.mem_limit_bytes));
    if (!s->loopback && s->n_keys == 0)
        serve_log(s, "every machine that reaches this address may ask: --api-key sets a key");
}

/* Until a signal, or until the engine fails. */
static void watch(server *s, const sigset_t *set, uint16_t port)
{
    bool greeted = false;
    while (!engine_over(s)) {
        if (next_signal(set)) return;
        if (!greeted && atomic_load(&s->phase) == SERVE_READY) {
            greet(s, port);
            greeted = true;
        }
        http_watch(s);
    }
}

static void stop_engine(server *s)
{
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->phase, SERVE_STOPPING);
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

static void cut_answers(server *s)
{
    pthread_mutex_lock(&s->lock);
    s->cut = true;
    for (uint32_t i = 0; i < s->n_slots; i++)
        if (s->slots[i].request) lever_session_cancel(s->slots[i].session);
    pthread_mutex_unlock(&s->lock);
}

/* Running answers may end, then what was not sent may be sent. A second signal ends the program at once. */
static void shut_down(server *s, const sigset_t *set)
{
    const uint64_t begin = now_ns(), grace = s->args.grace_s * 1000000000ull, second = 1000000000u;
    bool cut = false;
    if (atomic_load(&s->phase) == SERVE_LOADING) _exit(EXIT_CANCEL); /* nothing is owed to anybody yet */
    http_quiesce(s);
    stop_engine(s);
    serve_log(s, "ending; running answers have %u s", s->args.grace_s);
    while (!engine_over(s) || (http_n_busy(s) && now_ns() - begin < grace + 2 * second)) {
        if (next_signal(set)) _exit(EXIT_CANCEL);
        if (!cut && now_ns() - begin >= grace) {
            cut_answers(s);
            cut = true;
        }
        http_watch(s);
    }
}

static int serve(server *s)
{
    pthread_t thread;
    sigset_t set;
    uint16_t port;
    serve_engine_result engine = { .s = s };
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* for every thread: the main one takes them when it waits */
    signal(SIGPIPE, SIG_IGN);
    int code = http_open(s, &port);
    if (code == EXIT_OK && pthread_create(&thread, NULL, serve_engine_main, &engine)) code = EXIT_OTHER;
    if (code != EXIT_OK) {
        http_close(s);
        return code;
    }
    watch(s, &set, port);
    if (engine_over(s)) http_quiesce(s);
    shut_down(s, &set);
    pthread_join(thread, NULL);
    http_close(s);
    serve_engine_close(s);
    if (engine.rc < 0) return app_fail(engine.rc, &engine.err);
    serve_log(s, "ended");
    return EXIT_OK;
}

int cmd_serve(int argc, char **argv)
{
    static server s; /* static: too large for a frame */
    const char *none[1];
    int n;
    set_defaults(&s.args);
    if (options_parse(options, sizeof options / sizeof *options, &s.args, argc, argv, 2, none, 0, &n))
        return EXIT_USAGE;
    if (s.args.help) {
        puts("usage: lever serve [options]\n\nAnswers over HTTP, in the form of OpenAI's API, with a model "
             "that may be larger than the\nmemory limit; several conversations share each pass over it. "
             "docs/server.md");
        options_help(options, sizeof options / sizeof *options);
        return EXIT_OK;
    }
    int code = check_args(&s.args, argc, argv);
    if (!code) code = guard_load_keys(&s);
    if (!code) code = model_args_config(&s.args.model, &s.config);
    if (code) return code;
    set_malloc();
    serve_plan_own(&s);
    name_model(&s);
    s.created = (int64_t)time(NULL);
    if (getrandom(&s.seed_state, sizeof s.seed_state, 0) < 0) s.seed_state = now_ns();
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.work, NULL);
    return serve(&s);
}
