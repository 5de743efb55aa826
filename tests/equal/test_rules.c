/* The verification rules other than sample-and-match, on models: the text has the distribution of plain
 * decoding, depends on the seed and not on memory, threads or streaming, and what a rule can not do is
 * refused. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <math.h>
#include <unistd.h>

#include "lever/lever.h"
#include "support/mkmodel.h"

static char target[] = "/tmp/lever-rules-XXXXXX", draft[] = "/tmp/lever-rules-XXXXXX";
static const char *const rules[] = { "specinfer", "sequoia", "traversal" };
enum { N_RULES = 3, N_VOCAB = 280, N_SEEDS = 3000, TOP_K = 6 };

static lever_config config(const char *policy, const char *rule)
{
    lever_config c;
    lever_config_init(&c);
    c.model_path = target;
    c.draft_path = draft;
    c.policy = policy;
    c.verify = rule;
    c.n_ctx = 64;
    c.n_threads = 1;
    c.mem_bytes = 64 << 20;
    return c;
}

static lever_sampling sampling(float temperature, uint64_t seed)
{
    lever_sampling s;
    lever_sampling_init(&s);
    s.temperature = temperature;
    s.top_k = TOP_K;
    s.min_p = 0;
    s.seed = seed;
    return s;
}

static int reset(lever_session *s, const lever_sampling *p, lever_error *err)
{
    const int rc = lever_session_reset(s, p, err);
    return rc < 0 ? rc : lever_session_append_text(s, "a", SIZE_MAX, 0, err);
}

typedef struct opened {
    lever_engine *engine;
    lever_session *session;
} opened;

static opened must_open(const lever_config *c)
{
    opened o = { 0 };
    lever_error err = { 0 };
    const lever_sampling p = sampling(1, 0);
    CHECK_OK(lever_engine_open(&o.engine, c, &err), &err);
    if (!o.engine) exit(1);
    CHECK_OK(lever_session_open(&o.session, o.engine, &p, &err), &err);
    return o;
}

static void close_all(opened *o)
{
    lever_session_close(&o->session);
    lever_engine_close(&o->engine);
}

/* ---- the distribution ---- */

/* How often each token came first, and second, over seeds. */
typedef struct counts { uint32_t first[N_VOCAB], second[N_VOCAB]; } counts;

static void count(const lever_config *c, uint64_t first_seed, counts *out, uint32_t *accepted)
{
    opened o = must_open(c);
    lever_error err = { 0 };
    memset(out, 0, sizeof *out);
    *accepted = 0;
    for (uint64_t i = 0; i < N_SEEDS; i++) {
        const lever_sampling p = sampling(1, first_seed + i);
        const lever_generate_params g = { .max_tokens = 3, .ignore_end = true };
        lever_stats st;
        size_t n;
        CHECK_OK(reset(o.session, &p, &err), &err);
        CHECK_OK(lever_session_generate(o.session, &g, NULL, NULL, &st, &err), &err);
        const int32_t *t = lever_session_tokens(o.session, &n);
        out->first[t[n - 3]]++;
        out->second[t[n - 2]]++;
        *accepted += st.n_accepted;
    }
    close_all(&o);
}

/* Pearson's statistic of two samples of one size; tokens that came fewer than ten times in both count as one.
 * *df: degrees of freedom. */
static double chi2_of(const uint32_t *a, const uint32_t *b, uint32_t *df)
{
    double chi2 = 0, rare_a = 0, rare_b = 0;
    *df = 0;
    for (int t = 0; t < N_VOCAB; t++) {
        const double sum = (double)a[t] + b[t], diff = (double)a[t] - b[t];
        if (sum < 10) rare_a += a[t], rare_b += b[t];
        else chi2 += diff * diff / sum, ++*df;
    }
    if (rare_a + rare_b >= 10) chi2 += (rare_a - rare_b) * (rare_a - rare_b) / (rare_a + rare_b), ++*df;
    --*df;
    return chi2;
}

/* Exceeded by chance less than once in a million (Wilson and Hilferty's approximation). */
static double chi2_limit(uint32_t df)
{
    const double v = 2.0 / (9.0 * df), x = 1 - v + 4.8 * sqrt(v);
    return df * x * x * x;
}

static bool same_distribution(const counts *a, const counts *b)
{
    uint32_t df1, df2;
    const double first = chi2_of(a->first, b->first, &df1), second = chi2_of(a->second, b->second, &df2);
    CHECK(df1 >= 2 && df2 >= 4);
    return first < chi2_limit(df1) && second < chi2_limit(df2);
}

static void the_text_has_the_distribution_of_plain_decoding(void)
{
    static const char *const policies[] = { "tree:3,2", "dyspec:4", "sequoia:5,2" };
    static counts plain, other, got;
    uint32_t accepted;
    lever_config c = config("none", NULL);
    count(&c, 1000000, &plain, &accepted);
    CHECK_EQ(accepted, 0);
    for (int i = 0; i < N_RULES; i++) {
        c = config(policies[i], rules[i]);
        count(&c, 0, &got, &accepted);
        printf("     %s, %s: %u tokens accepted\n", rules[i], policies[i], accepted);
        CHECK(same_distribution(&plain, &got));
        CHECK(accepted > N_SEEDS / 4); /* else nothing was tested */
    }
    c = config("chain:2", "traversal");
    count(&c, 5000000, &got, &accepted);
    CHECK(same_distribution(&plain, &got));
    /* The check can tell two models apart. */
    c = config("none", NULL);
    c.model_path = draft;
    count(&c, 0, &other, &accepted);
    CHECK(!same_distribution(&plain, &other));
}

/* ---- one text ---- */

typedef struct text {
    int32_t tokens[64];
    size_t  n;
} text;

static text write_text(const lever_config *c, float temperature, uint64_t seed)
{
    text t = { 0 };
    opened o = must_open(c);
    lever_error err = { 0 };
    const lever_sampling p = sampling(temperature, seed);
    const lever_generate_params g = { .max_tokens = 40, .ignore_end = true };
    CHECK_OK(reset(o.session, &p, &err), &err);
    CHECK_OK(lever_session_generate(o.session, &g, NULL, NULL, NULL, &err), &err);
    const int32_t *tokens = lever_session_tokens(o.session, &t.n);
    CHECK(t.n <= 64);
    memcpy(t.tokens, tokens, t.n * sizeof *tokens);
    close_all(&o);
    return t;
}

static bool equal(text a, text b)
{
    return a.n == b.n && !memcmp(a.tokens, b.tokens, a.n * sizeof *a.tokens);
}

static void the_text_depends_on_the_seed_and_not_on_the_machine(void)
{
    static const char *const policies[] = { "specinfer:2,2,1", "sequoia:6", "dyspec:6" };
    for (int i = 0; i < N_RULES; i++) {
        lever_config c = config(policies[i], rules[i]);
        lever_plan plan;
        lever_error err = { 0 };
        const text a = write_text(&c, 1, 5);
        CHECK(equal(a, write_text(&c, 1, 5)));
        CHECK(!equal(a, write_text(&c, 1, 6)));
        c.n_threads = 3;
        c.isa = "ref";
        CHECK(equal(a, write_text(&c, 1, 5)));
        c.mem_bytes = 1;
        CHECK_OK(lever_plan_memory(&c, &plan, &err), &err);
        c.mem_bytes = plan.needed_bytes;
        CHECK(equal(a, write_text(&c, 1, 5))); /* streamed, head and all */
    }
    const lever_config a = config("chain:3", "traversal"), b = config("tree:2,2", "traversal");
    CHECK(!equal(write_text(&a, 1, 5), write_text(&b, 1, 5))); /* this is what "match" is for */
}

static void without_a_tree_or_at_temperature_0_it_is_plain_decoding(void)
{
    lever_config plain = config("none", NULL);
    for (int i = 0; i < N_RULES; i++) {
        lever_config c = config("none", rules[i]);
        CHECK(equal(write_text(&plain, 1, 3), write_text(&c, 1, 3)));
        c.policy = "tree:3,2";
        CHECK(!equal(write_text(&plain, 1, 3), write_text(&c, 1, 3)));
        CHECK(equal(write_text(&plain, 0, 3), write_text(&c, 0, 3)));
    }
}

/* ---- memory, refusals ---- */

static void a_rule_is_part_of_the_memory_plan(void)
{
    lever_plan match, rule;
    lever_error err = { 0 };
    lever_config c = config("tree:4,4,2", NULL);
    c.mem_bytes = 1;
    CHECK_OK(lever_plan_memory(&c, &match, &err), &err);
    c.verify = "match";
    CHECK_OK(lever_plan_memory(&c, &rule, &err), &err);
    CHECK_EQ(match.needed_bytes, rule.needed_bytes);
    for (int i = 0; i < N_RULES; i++) {
        c.verify = rules[i];
        CHECK_OK(lever_plan_memory(&c, &rule, &err), &err);
        const uint64_t more = rule.needed_bytes - match.needed_bytes; /* 53 nodes, 16 bytes per probability */
        CHECK(rule.needed_bytes > match.needed_bytes && more > 53 * 256 * 16 && more < 53 * 256 * 40);
    }
}

static void expect_refused(const char *policy, const char *rule, const char *word)
{
    lever_error err = { 0 };
    lever_engine *engine;
    const lever_config c = config(policy, rule);
    CHECK_EQ(lever_engine_open(&engine, &c, &err), LEVER_EINVAL);
    CHECK(engine == NULL);
    if (!strstr(err.msg, word)) fprintf(stderr, "%s with %s: %s\n", policy, rule, err.msg);
    CHECK(strstr(err.msg, word));
}

static void what_a_rule_can_not_do_is_refused(void)
{
    static const char *const choosing[] = { "eagle2", "opttree", "specexec", "edgellm", "lever", "lookup" };
    for (int i = 0; i < N_RULES; i++)
        for (int k = 0; k < 6; k++)
            expect_refused(choosing[k], rules[i], "none, chain, tree, specinfer, sequoia");
    expect_refused("eagle2", "traversal", "dyspec");
    expect_refused("dyspec", "specinfer", "with replacement");
    expect_refused("chain", "coin", "specinfer, sequoia, traversal");

    const lever_config c = config("chain:2", "sequoia");
    opened o = must_open(&c);
    lever_error err = { 0 };
    static const int32_t bad[] = { 0, 257, 100000 };
    for (int i = 0; i < 3; i++) {
        lever_sampling p = sampling(0.8f, 0);
        p.top_k = bad[i];
        CHECK_EQ(lever_session_reset(o.session, &p, &err), LEVER_EINVAL);
        CHECK(strstr(err.msg, "from 1 to 256"));
        p.temperature = 0; /* nothing is drawn */
        CHECK_OK(lever_session_reset(o.session, &p, &err), &err);
    }
    const lever_generate_params g = { .max_tokens = 4, .policy = "edgellm:2" };
    CHECK_OK(reset(o.session, NULL, &err), &err);
    CHECK_EQ(lever_session_generate(o.session, &g, NULL, NULL, NULL, &err), LEVER_EINVAL);
    CHECK(strstr(err.msg, "edgellm:2"));
    close_all(&o);
}

/* ---- two models that agree now and then ---- */

static bool make_model(char *path, uint32_t n_layers)
{
    lever_error err = { 0 };
    mk_config c = mk_config_init();
    const int fd = mkstemp(path);
    c.n_vocab = N_VOCAB;
    c.n_layers = n_layers;
    if (fd < 0) return false;
    close(fd);
    CHECK_OK(mk_model_write(path, &c, &err), &err);
    return true;
}

int main(void)
{
    if (!make_model(target, 4) || !make_model(draft, 2)) SKIP("no place for test models");
    RUN(the_text_has_the_distribution_of_plain_decoding);
    RUN(the_text_depends_on_the_seed_and_not_on_the_machine);
    RUN(without_a_tree_or_at_temperature_0_it_is_plain_decoding);
    RUN(a_rule_is_part_of_the_memory_plan);
    RUN(what_a_rule_can_not_do_is_refused);
    unlink(target);
    unlink(draft);
    return check_done();
}
