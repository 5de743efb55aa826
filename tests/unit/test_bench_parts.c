/* The parts of `lever bench` that need no model: statistics, rows as CSV, sensors.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "support/check.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../apps/lever/bench_rows.h"
#include "../apps/lever/bench_sensors.h"
#include "../apps/lever/bench_stats.h"

static char folder[] = "/tmp/lever-bench.XXXXXX";

static void expect_near(double got, double want, double error, const char *what)
{
    if (fabs(got - want) <= error * fabs(want)) return;
    fprintf(stderr, "%s: %.9g, expected %.9g\n", what, got, want);
    check_failures++;
}

/* Points of a printed table of Student's t. */
static void t_is_that_of_the_tables(void)
{
    static const struct { size_t df; double t; } table[] = { { 1, 12.706 }, { 2, 4.303 }, { 4, 2.776 },
                                                             { 10, 2.228 }, { 15, 2.131 }, { 16, 2.1199 },
                                                             { 20, 2.0860 }, { 30, 2.0423 }, { 49, 2.0096 },
                                                             { 120, 1.9799 }, { 1000000, 1.95996 } };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        expect_near(stats_t95(table[i].df), table[i].t, 2e-4, "t");
    for (size_t df = 2; df < 200; df++) CHECK(stats_t95(df) < stats_t95(df - 1));
    CHECK(isnan(stats_t95(0)));
}

static void geometric_means_and_intervals(void)
{
    const double two[] = { 1, 4 }, same[] = { 3, 3, 3 }, x[] = { 1.5, 2.0, 1.2, 1.9, 1.6 };
    stats_interval s = stats_geometric(two, 2);
    expect_near(s.mean, 2, 1e-12, "mean of 1 and 4");
    /* Logarithms 0 and 2 ln 2: the standard error is ln 2, with one degree of freedom. */
    expect_near(s.high, 2 * exp(12.7062 * log(2)), 1e-9, "high");
    expect_near(s.low * s.high, 4, 1e-9, "the interval is symmetric in logarithms");
    s = stats_geometric(same, 3);
    expect_near(s.low, 3, 1e-12, "low of equal values");
    expect_near(s.high, 3, 1e-12, "high of equal values");
    s = stats_geometric(x, 5);
    CHECK(s.low < s.mean && s.mean < s.high && s.low > 1.2 && s.high < 2.1);
    s = stats_geometric(two + 1, 1);
    CHECK(s.mean > 3.999 && s.mean < 4.001 && isnan(s.low) && isnan(s.high));
    CHECK(isnan(stats_geometric(NULL, 0).mean));
}

static bench_row sample(const char *prompt, const char *policy, const char *hash)
{
    bench_row r = { .machine = "m, 2 cores", .model = "a \"b\".gguf", .draft = "", .residency = "spread",
                    .options = "", .file = "f.jsonl", .prompt = prompt, .policy = policy, .verify = "match",
                    .share_asked = NAN, .celsius = NAN, .energy_j = NAN };
    const lever_stats s = { .n_new_tokens = 11, .n_decode_tokens = 10, .n_cycles = 4, .n_rows = 20,
                            .n_accepted = 6, .decode_ns = 500000000, .bytes_read = 123456789012 };
    bench_row_add(&r, &s);
    snprintf(r.date, sizeof r.date, "2026-01-02T03:04:05Z");
    snprintf(r.text_hash, sizeof r.text_hash, "%s", hash);
    return r;
}

static void rows_add_up(void)
{
    bench_row r = sample("p", "chain:8", "1");
    const lever_stats more = { .n_decode_tokens = 2, .n_cycles = 2, .n_rows = 4, .decode_ns = 100000000 };
    bench_row_add(&r, &more);
    CHECK_EQ(r.decode_tokens, 12);
    expect_near(r.tokens_per_s, 20, 1e-12, "tokens per second");
    expect_near(r.tokens_per_sweep, 2, 1e-12, "tokens per sweep");
    expect_near(r.accepted_per_sweep, 1, 1e-12, "accepted per sweep");
    expect_near(r.rows_per_sweep, 4, 1e-12, "rows per sweep");
    CHECK(bench_hash(BENCH_HASH_START, "a", 1) == UINT64_C(0xaf63dc4c8601ec8c)); /* published test value */
}

static void a_differing_text_is_found(void)
{
    bench_rows rows = { 0 };
    bench_row a = sample("p", "none", "1"), b = sample("p", "chain:8", "1"), c = sample("p", "tree:2", "2");
    bench_row d = sample("q", "none", "3");
    d.i_prompt = 1;
    CHECK(bench_rows_add(&rows, &a) && bench_rows_add(&rows, &d));
    CHECK(!bench_rows_other_text(&rows, &b));
    const bench_row *other = bench_rows_other_text(&rows, &c);
    CHECK(other && !strcmp(other->policy, "none") && !strcmp(other->prompt, "p"));
    bench_rows_free(&rows);
}

static void path_in(char *buf, size_t cap, const char *name) { snprintf(buf, cap, "%s/%s", folder, name); }

static void rows_are_found_again(void)
{
    char path[128];
    lever_error e = { 0 };
    bench_csv csv;
    path_in(path, sizeof path, "rows.csv");
    const bench_row a = sample("one, \"two\"\n;", "tree:4,2,1", "00ff"), b = sample("one", "none", "00ff");
    CHECK_OK(bench_csv_open(&csv, path, &e), &e);
    CHECK_OK(bench_csv_add(&csv, &a, &e), &e);
    CHECK_OK(bench_csv_close(&csv, &e), &e);
    FILE *f = fopen(path, "a"); /* a run that was killed */
    CHECK(f && fputs("\"m, 2 cores\",half", f) >= 0 && fclose(f) == 0);
    CHECK_OK(bench_csv_open(&csv, path, &e), &e);
    bench_row got = { .machine = a.machine, .model = a.model, .draft = a.draft, .residency = a.residency,
                      .options = a.options, .file = a.file, .prompt = a.prompt, .policy = a.policy,
                      .verify = a.verify, .share_asked = NAN };
    CHECK(bench_csv_find(&csv, &got));
    CHECK_EQ(got.decode_tokens, 10);
    CHECK_EQ(got.flash_bytes, 123456789012);
    CHECK_STR(got.text_hash, "00ff");
    CHECK_STR(got.date, a.date);
    CHECK(isnan(got.energy_j) && got.decode_s > 0.4999 && got.decode_s < 0.5001);
    bench_row other = b;
    CHECK(!bench_csv_find(&csv, &other));
    got.seed = 1; /* another key */
    CHECK(!bench_csv_find(&csv, &got));
    got.seed = 0, got.verify = "traversal";
    CHECK(!bench_csv_find(&csv, &got));
    CHECK_OK(bench_csv_add(&csv, &b, &e), &e);
    CHECK_OK(bench_csv_close(&csv, &e), &e);
    CHECK_OK(bench_csv_open(&csv, path, &e), &e); /* the half line is gone, the new one whole */
    CHECK(bench_csv_find(&csv, &other));
    CHECK_OK(bench_csv_close(&csv, &e), &e);
}

static void foreign_files_are_left_alone(void)
{
    static const char *const texts[] = { "x", "machine;model\n1;2\n", "some notes without a line end" };
    char path[128], back[64];
    path_in(path, sizeof path, "foreign.csv");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        bench_csv csv;
        lever_error e = { 0 };
        FILE *f = fopen(path, "w");
        CHECK(f && fputs(texts[i], f) >= 0 && fclose(f) == 0);
        CHECK_EQ(bench_csv_open(&csv, path, &e), LEVER_EFORMAT);
        CHECK(strstr(e.msg, path));
        bench_csv_close(&csv, &e);
        f = fopen(path, "r");
        const size_t n = f ? fread(back, 1, sizeof back - 1, f) : 0;
        back[n] = '\0';
        if (f) fclose(f);
        CHECK_STR(back, texts[i]);
    }
}

static void put(const char *zone, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, zone);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/%s/%s", folder, zone, name);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void energy_counts_packages_and_memory_once(void)
{
    energy_meter m;
    energy_open(&m, "/nowhere");
    CHECK(m.n == 0 && isnan(energy_joules(&m)));
    static const char *const zones[][2] = { { "intel-rapl:0", "package-0" }, { "intel-rapl:0:0", "core" },
                                            { "intel-rapl:0:1", "dram" }, { "intel-rapl:1", "psys" },
                                            { "intel-rapl-mmio:0", "package-0" } };
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++) {
        put(zones[i][0], "name", zones[i][1]);
        put(zones[i][0], "energy_uj", "1000000\n");
        put(zones[i][0], "max_energy_range_uj", "9000000\n");
    }
    energy_open(&m, folder);
    CHECK_EQ(m.n, 2);
    put("intel-rapl:0", "energy_uj", "3500000\n");
    put("intel-rapl:0:1", "energy_uj", "500000\n"); /* ran full */
    expect_near(energy_joules(&m), 2.5 + 8.5, 1e-9, "joules");
    expect_near(energy_joules(&m) + 1, 1, 1e-9, "joules of no time");
}

static void the_hottest_zone_counts(void)
{
    CHECK(isnan(highest_celsius("/nowhere")));
    put("thermal_zone0", "temp", "41500\n");
    put("thermal_zone1", "temp", "62000\n");
    put("thermal_zone2", "temp", "-274000\n");
    put("cooling_device0", "temp", "99000\n");
    expect_near(highest_celsius(folder), 62, 1e-9, "celsius");
}

int main(void)
{
    if (!mkdtemp(folder)) SKIP("no place for test files");
    RUN(t_is_that_of_the_tables);
    RUN(geometric_means_and_intervals);
    RUN(rows_add_up);
    RUN(a_differing_text_is_found);
    RUN(rows_are_found_again);
    RUN(foreign_files_are_left_alone);
    RUN(energy_counts_packages_and_memory_once);
    RUN(the_hottest_zone_counts);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return check_done() | (system(command) != 0);
}
