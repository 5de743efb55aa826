/* Several conversations in one engine: how many tokens a second they give together. One JSON object on stdout.
 *
 * usage: lever_sessions [--policy P] [--learnt FILE] [--temp T] TARGET DRAFT MEM_BYTES SESSIONS TOKENS < PROMPTS
 *            PROMPTS: texts, each ended by a NUL byte; TOKENS new ones are made for each
 *            --learnt: what policies learn is read from this file, and written to it at the end
 * As soon as a text is done the next begins in its place. Speed is counted while all places are taken: until the
 * prompts run out. SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lever/lever.h"
#include "os/clock.h"

enum { PROMPTS_MOST = 1024, INPUT_MOST = 1 << 22, LEARNT_MOST = 1 << 20, PLACES_MOST = 64 };

typedef struct place {
    lever_session *session;
    uint64_t begin_ns, first_ns; /* of the text being made: its start, its first token; 0: none yet */
    int      prompt;             /* -1: the place is free */
} place;

typedef struct bench {
    lever_engine *engine;
    const char *prompts[PROMPTS_MOST];
    int      n_prompts, next;
    uint32_t n_new, n_places;
    float    temperature;
    place    places[PLACES_MOST];
    uint64_t n_tokens, text_sum; /* tokens so far; XXH-like sum of all texts, whatever their order */
    uint64_t n_steps, first_token_ns;
    lever_stats all;             /* of finished texts, added up */
} bench;

static bench b;
static char input[INPUT_MOST + 1];

static void check(int rc, const lever_error *err)
{
    if (rc >= 0) return;
    fprintf(stderr, "lever_sessions: %s\n", err->msg);
    exit(1);
}

static bool on_token(void *user, const lever_token_event *e)
{
    place *p = user;
    if (e->token < 0) return true;
    b.n_tokens++;
    if (!p->first_ns) p->first_ns = lv_clock_ns();
    const uint64_t mix = ((uint64_t)(uint32_t)e->token << 32 | e->position) * UINT64_C(0x9e3779b97f4a7c15);
    b.text_sum += (mix ^ mix >> 29) * (uint64_t)(2 * p->prompt + 1);
    return true;
}

static void begin(place *p)
{
    lever_error err = { 0 };
    lever_sampling s;
    p->prompt = b.next < b.n_prompts ? b.next++ : -1;
    if (p->prompt < 0) return;
    lever_sampling_init(&s);
    s.temperature = b.temperature;
    s.seed = (uint64_t)p->prompt;
    check(lever_session_reset(p->session, &s, &err), &err);
    check(lever_session_append_text(p->session, b.prompts[p->prompt], SIZE_MAX, 0, &err), &err);
    const lever_generate_params params = { .max_tokens = b.n_new, .ignore_end = true };
    p->begin_ns = lv_clock_ns();
    p->first_ns = 0;
    check(lever_session_start(p->session, &params, on_token, p, &err), &err);
}

static void end(place *p)
{
    lever_error err = { 0 };
    lever_stats st;
    check(lever_session_finish(p->session, &st, &err), &err);
    b.first_token_ns += p->first_ns - p->begin_ns;
    b.all.n_decode_tokens += st.n_decode_tokens, b.all.n_cycles += st.n_cycles, b.all.n_rows += st.n_rows;
    b.all.draft_ns += st.draft_ns, b.all.verify_ns += st.verify_ns, b.all.project_ns += st.project_ns;
    b.all.decode_ns += st.decode_ns, b.all.flash_wait_ns += st.flash_wait_ns, b.all.n_drafted += st.n_drafted;
    b.all.draft_model_ns += st.draft_model_ns;
}

/* Seconds and tokens until the prompts ran out. */
static void run(double *seconds, uint64_t *tokens)
{
    const uint64_t t0 = lv_clock_ns();
    for (uint32_t i = 0; i < b.n_places; i++) begin(&b.places[i]);
    *seconds = 0;
    for (bool full = true; ; b.n_steps++) {
        lever_engine_step(b.engine);
        for (uint32_t i = 0; i < b.n_places; i++) {
            place *p = &b.places[i];
            if (p->prompt < 0 || lever_session_is_running(p->session)) continue;
            end(p);
            begin(p);
            if (p->prompt >= 0 || !full) continue;
            full = false;
            *seconds = (double)(lv_clock_ns() - t0) * 1e-9;
            *tokens = b.n_tokens;
        }
        uint32_t n = 0;
        for (uint32_t i = 0; i < b.n_places; i++) n += b.places[i].prompt >= 0;
        if (n == 0) return;
    }
}

static void read_prompts(void)
{
    const size_t n = fread(input, 1, INPUT_MOST, stdin);
    for (size_t at = 0; at < n && b.n_prompts < PROMPTS_MOST; at += strlen(input + at) + 1)
        b.prompts[b.n_prompts++] = input + at;
    if (b.n_prompts) return;
    fprintf(stderr, "lever_sessions: no prompts on standard input\n");
    exit(2);
}

static void load_learnt(const char *path)
{
    static char bytes[LEARNT_MOST];
    lever_error err = { 0 };
    FILE *f = path ? fopen(path, "rb") : NULL;
    if (!f) return;
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    if (lever_engine_set_learnt(b.engine, bytes, n, &err) < 0) fprintf(stderr, "%s: %s\n", path, err.msg);
}

static void store_learnt(const char *path)
{
    static char bytes[LEARNT_MOST];
    const size_t n = path ? lever_engine_get_learnt(b.engine, bytes, sizeof bytes) : 0;
    FILE *f = n && n <= sizeof bytes ? fopen(path, "wb") : NULL;
    if (!f) return;
    if (fwrite(bytes, 1, n, f) != n) fprintf(stderr, "%s: not written whole\n", path);
    fclose(f);
}

static void print_result(double seconds, uint64_t tokens)
{
    lever_engine_info info;
    lever_engine_get_info(b.engine, &info);
    const double cycles = b.all.n_cycles ? b.all.n_cycles : 1;
    printf("{\"sessions\": %u, \"policy\": \"%s\", \"max_rows\": %u, \"streamed_bytes\": %" PRIu64, b.n_places,
           info.policy, info.max_rows, info.target_streamed_bytes);
    printf(", \"tokens\": %" PRIu64 ", \"seconds\": %.3f, \"tokens_per_s\": %.3f", tokens, seconds,
           (double)tokens / seconds);
    printf(", \"all_tokens\": %" PRIu64 ", \"steps\": %" PRIu64 ", \"text_sum\": \"%016" PRIx64 "\"", b.n_tokens,
           b.n_steps, b.text_sum);
    printf(", \"tokens_per_cycle\": %.3f, \"rows_per_cycle\": %.2f", b.all.n_decode_tokens / cycles,
           (double)b.all.n_rows / cycles);
    printf(", \"cycle_s\": %.4f, \"draft_s\": %.4f, \"draft_model_s\": %.4f, \"verify_s\": %.4f, \"project_s\": %.4f",
           (double)b.all.decode_ns * 1e-9 / cycles, (double)b.all.draft_ns * 1e-9 / cycles,
           (double)b.all.draft_model_ns * 1e-9 / cycles, (double)b.all.verify_ns * 1e-9 / cycles,
           (double)b.all.project_ns * 1e-9 / cycles);
    printf(", \"flash_wait_s\": %.4f, \"first_token_s\": %.3f}\n", (double)b.all.flash_wait_ns * 1e-9 / cycles,
           (double)b.first_token_ns * 1e-9 / b.n_prompts);
}

int main(int argc, char **argv)
{
    const char *learnt = NULL;
    lever_config c;
    lever_error err = { 0 };
    lever_config_init(&c);
    int at = 1;
    for (; at + 1 < argc && !strncmp(argv[at], "--", 2); at += 2) {
        if (!strcmp(argv[at], "--policy")) c.policy = argv[at + 1];
        else if (!strcmp(argv[at], "--learnt")) learnt = argv[at + 1];
        else if (!strcmp(argv[at], "--flash-limit")) c.flash_limit_bytes_per_s = strtoull(argv[at + 1], NULL, 10);
        else if (!strcmp(argv[at], "--temp")) b.temperature = (float)atof(argv[at + 1]);
        else break;
    }
    if (argc - at != 5) {
        fprintf(stderr, "usage: lever_sessions [--policy P] [--learnt FILE] [--temp T] [--flash-limit BYTES_PER_S] "
                        "TARGET DRAFT MEM_BYTES SESSIONS TOKENS < PROMPTS\n");
        return 2;
    }
    c.model_path = argv[at], c.draft_path = argv[at + 1];
    c.mem_bytes = strtoull(argv[at + 2], NULL, 10);
    c.n_sessions = b.n_places = (uint32_t)atoi(argv[at + 3]);
    b.n_new = (uint32_t)atoi(argv[at + 4]);
    c.n_ctx = 1024;
    c.caller_bytes = 8 << 20;
    if (b.n_places < 1 || b.n_places > PLACES_MOST) return fprintf(stderr, "1 to %d sessions\n", PLACES_MOST), 2;
    read_prompts();
    check(lever_engine_open(&b.engine, &c, &err), &err);
    load_learnt(learnt);
    for (uint32_t i = 0; i < b.n_places; i++)
        check(lever_session_open(&b.places[i].session, b.engine, NULL, &err), &err);
    double seconds;
    uint64_t tokens = 0;
    run(&seconds, &tokens);
    print_result(seconds, tokens);
    for (uint32_t i = 0; i < b.n_places; i++) lever_session_close(&b.places[i].session);
    store_learnt(learnt);
    lever_engine_close(&b.engine);
    return 0;
}
