/* gnuplot reads a script with its data from standard input and writes the picture to its standard output, so
 * no name of a file passes through its language. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "bench_plot.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static bool ends_in(const char *path, const char *end)
{
    const size_t n = strlen(path), m = strlen(end);
    return n > m && !strcmp(path + n - m, end);
}

bool bench_plot_knows(const char *path) { return ends_in(path, ".svg") || ends_in(path, ".png"); }

bool bench_plot_possible(void)
{
    char file[4096];
    for (const char *at = getenv("PATH"); at && *at; at += *at == ':') {
        const size_t len = strcspn(at, ":");
        snprintf(file, sizeof file, "%.*s/gnuplot", (int)len, at);
        if (access(file, X_OK) == 0) return true;
        at += len;
    }
    return false;
}

/* ---- the script ---- */

/* Names of prompts files and policies are shown as they are; a quote would end the string. */
static void put_quoted(FILE *f, const char *text, int len)
{
    fputc('"', f);
    for (int i = 0; i < len && text[i]; i++)
        fputc(text[i] == '"' || text[i] == '\\' || (unsigned char)text[i] < 0x20 ? '\'' : text[i], f);
    fputc('"', f);
}

static void put_number(FILE *f, double x)
{
    if (isnan(x)) fputs(" NaN", f);
    else fprintf(f, " %.9g", x);
}

static void put_head(FILE *f, const char *path, int height)
{
    const bool svg = ends_in(path, ".svg");
    fprintf(f, "set terminal %s size 800,%d enhanced font 'sans,%d' background rgb 'white'\n",
            svg ? "svg" : "pngcairo", height, svg ? 13 : 11);
    /* Colours that also differ for the colour-blind. */
    fputs("set encoding utf8\nset grid ytics lt 1 lw 0.5 lc rgb '#cccccc'\nset border 3\nset tics nomirror\n"
          "set style line 1 lc rgb '#555555' pt 7\nset style line 2 lc rgb '#0072b2' pt 5\n"
          "set style line 3 lc rgb '#e69f00' pt 9\nset style line 4 lc rgb '#009e73' pt 11\n"
          "set style line 5 lc rgb '#cc79a7' pt 13\nset style line 6 lc rgb '#d55e00' pt 15\n"
          "set style line 7 lc rgb '#56b4e9' pt 6\nset style line 8 lc rgb '#b2a800' pt 4\n"
          "set style line 9 lc rgb '#7b3294' pt 1\nset style line 10 lc rgb '#a6611a' pt 2\n", f);
}

static int style_of(uint32_t policy) { return (int)(policy % 10) + 1; }

/* Whether a policy was measured at all in this cell. */
static bool has_values(const bench_group *g) { return g->sweeps > 0 && g->speed.mean > 0; }

static void put_speed_data(FILE *f, const bench_setup *s, const bench_summary *m)
{
    for (uint32_t k = 0; k < s->n_policies; k++) {
        fprintf(f, "$speed%u << EOD\n", k);
        for (uint32_t file = 0; file <= s->n_files; file++) {
            if (file == s->n_files && file == 1) break;
            const bench_group *g = bench_summary_group(m, s, 0, file, k);
            const char *name = file < s->n_files ? s->paths[file] : "all";
            put_quoted(f, path_name(name), path_stem_length(name));
            put_number(f, g->speed.mean);
            put_number(f, isnan(g->speed.low) ? g->speed.mean : g->speed.low);
            put_number(f, isnan(g->speed.high) ? g->speed.mean : g->speed.high);
            fputc('\n', f);
        }
        fputs("EOD\n", f);
    }
}

static void put_sweep_data(FILE *f, const bench_setup *s, const bench_summary *m)
{
    fputs("$cycle << EOD\n", f);
    for (uint32_t k = 0; k < s->n_policies; k++) {
        const bench_group *g = bench_summary_group(m, s, 0, s->n_files, k);
        put_quoted(f, s->policies[k], 60);
        put_number(f, g->rows_per_sweep);
        put_number(f, g->tokens_per_sweep);
        put_number(f, g->draft_s * 1e3);
        put_number(f, g->wait_s * 1e3);
        put_number(f, g->compute_s * 1e3);
        put_number(f, g->project_s * 1e3);
        put_number(f, g->other_s * 1e3);
        fprintf(f, " %d\n", style_of(k));
    }
    fputs("EOD\n", f);
}

/* Of two or three prompts intervals may be a hundred times as long as the bars: then they leave the picture.
 * */
static double speed_range(const bench_setup *s, const bench_summary *m)
{
    double most = 0;
    for (uint32_t f = 0; f <= s->n_files; f++)
        for (uint32_t k = 0; k < s->n_policies; k++) {
            const double mean = bench_summary_group(m, s, 0, f, k)->speed.mean;
            if (mean > most) most = mean;
        }
    return most > 0 ? 1.4 * most : 1;
}

static void plot_policies(FILE *f, const char *path, const bench_setup *s, const bench_summary *m)
{
    put_head(f, path, 1200);
    put_speed_data(f, s, m);
    put_sweep_data(f, s, m);
    fputs("set multiplot layout 3,1\n"
          "set title 'Speed by kind of prompt (geometric mean, 95 % interval over prompts)'\n"
          "set ylabel 'tokens per second'\nset xtics scale 0 noenhanced\n"
          "set style data histograms\nset style histogram errorbars gap 1.5 lw 1\n"
          "set style fill solid 0.85 border lc rgb '#222222'\n"
          "set errorbars lw 1\nset key below noenhanced\nset lmargin 11\n", f);
    fprintf(f, "set yrange [0:%.6g]\nplot ", speed_range(s, m));
    for (uint32_t k = 0; k < s->n_policies; k++) {
        fprintf(f, "$speed%u using 2:3:4:xtic(1) ls %d title ", k, style_of(k));
        put_quoted(f, s->policies[k], 60);
        fputs(k + 1 < s->n_policies ? ", " : "\n", f);
    }
    fputs("set title 'What a sweep gives for the rows it verifies'\n"
          "set xlabel 'rows per sweep' offset 0,0.6\n"
          "set ylabel 'tokens per sweep'\nset xrange [0:*]\nset yrange [0:*]\n"
          "set offsets graph 0, graph 0.12, graph 0.1, 0\n"
          "set xtics auto scale 1\nset grid xtics\nplot ", f);
    for (uint32_t k = 0; k < s->n_policies; k++) {
        fprintf(f, "$cycle every ::%u::%u using 2:3 with points ls %d ps 1.5 title ", k, k, style_of(k));
        put_quoted(f, s->policies[k], 60);
        fputs(k + 1 < s->n_policies ? ", " : "\n", f);
    }
    fputs("set title 'Where the time of a cycle goes (draft, sweep, accept)'\nunset xlabel\n"
          "set ylabel 'ms per cycle'\nset offsets 0,0,0,0\nset xrange [*:*]\nset grid noxtics\n"
          "set style histogram rowstacked gap 1\nset boxwidth 0.6\n"
          "set xtics scale 0 rotate by -20 noenhanced\n"
          "plot $cycle using 4:xtic(1) lc rgb '#e69f00' title 'draft', "
          "'' using 5 lc rgb '#999999' title 'verify: waiting for flash', "
          "'' using 6 lc rgb '#0072b2' title 'verify: compute', "
          "'' using 7 lc rgb '#009e73' title 'project', '' using 8 lc rgb '#dddddd' title 'other'\n"
          "unset multiplot\n", f);
}

/* One block of data per policy and kind of residency: the cells of the latter, in the order given. */
static void put_share_data(FILE *f, const bench_setup *s, const bench_summary *m, uint32_t k, uint32_t first)
{
    fprintf(f, "$share%u_%u << EOD\n", k, first);
    for (uint32_t c = first; c < s->n_cells; c++) {
        const bench_group *g = bench_summary_group(m, s, c, s->n_files, k);
        if (strcmp(s->cells[c].residency, s->cells[first].residency) || !has_values(g)) continue;
        put_number(f, g->share);
        put_number(f, g->speed.mean);
        put_number(f, g->bytes_per_sweep * 1e-9);
        fputc('\n', f);
    }
    fputs("EOD\n", f);
}

static bool is_first_of_its_kind(const bench_setup *s, uint32_t cell)
{
    for (uint32_t c = 0; c < cell; c++)
        if (!strcmp(s->cells[c].residency, s->cells[cell].residency)) return false;
    return true;
}

static bool has_share_data(const bench_setup *s, const bench_summary *m, uint32_t k, uint32_t first)
{
    for (uint32_t c = first; c < s->n_cells; c++)
        if (!strcmp(s->cells[c].residency, s->cells[first].residency) &&
            has_values(bench_summary_group(m, s, c, s->n_files, k)))
            return true;
    return false;
}

static void put_share_lines(FILE *f, const bench_setup *s, const bench_summary *m, int column)
{
    const char *comma = "plot ";
    char title[128];
    int dash = 0;
    for (uint32_t c = 0; c < s->n_cells; c++) {
        if (!is_first_of_its_kind(s, c)) continue;
        dash++;
        for (uint32_t k = 0; k < s->n_policies; k++) {
            if (!has_share_data(s, m, k, c)) continue;
            fprintf(f, "%s$share%u_%u using 1:%d with linespoints ls %d dt %d lw 1.5 title ", comma, k, c,
                    column, style_of(k), dash);
            snprintf(title, sizeof title, "%.60s, %.40s", s->policies[k], s->cells[c].residency);
            put_quoted(f, title, 120);
            comma = ", ";
        }
    }
    fputc('\n', f);
}

static void plot_shares(FILE *f, const char *path, const bench_setup *s, const bench_summary *m)
{
    put_head(f, path, 900);
    for (uint32_t c = 0; c < s->n_cells; c++)
        for (uint32_t k = 0; k < s->n_policies && is_first_of_its_kind(s, c); k++)
            put_share_data(f, s, m, k, c);
    fputs("set multiplot layout 2,1\nset key below noenhanced\nset lmargin 11\n"
          "set xlabel 'share of the target''s matrices in memory, %' offset 0,0.6\n"
          "set xrange [0:100]\nset yrange [0:*]\n"
          "set title 'Speed by share of the model in memory'\nset ylabel 'tokens per second'\n", f);
    put_share_lines(f, s, m, 2);
    fputs("set title 'Read from flash'\nset ylabel 'GB per sweep'\n", f);
    put_share_lines(f, s, m, 3);
    fputs("unset multiplot\n", f);
}

/* ---- gnuplot ---- */

static int fail(lever_error *err, int code, const char *path, const char *why)
{
    snprintf(err->msg, sizeof err->msg, "picture '%.300s' can not be drawn: %s", path, why);
    return err->code = code;
}

/* Start gnuplot with its input at *script and its output in the file out. */
static int start(pid_t *pid, FILE **script, int out, const char *path, lever_error *err)
{
    int ends[2];
    static char name[] = "gnuplot";
    char *const argv[] = { name, NULL };
    posix_spawn_file_actions_t actions;
    if (pipe2(ends, O_CLOEXEC)) return fail(err, LEVER_EIO, path, strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    const int rc = posix_spawnp(pid, "gnuplot", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    *script = rc == 0 ? fdopen(ends[1], "w") : NULL;
    if (rc == 0 && *script) return LEVER_OK;
    close(ends[1]);
    return rc == ENOENT ? fail(err, LEVER_EUNSUP, path, "gnuplot is not installed")
                        : fail(err, LEVER_EIO, path, strerror(rc ? rc : ENOMEM));
}

static int finish(pid_t pid, FILE *script, const char *path, lever_error *err)
{
    int status = 0;
    const bool told = fclose(script) == 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return fail(err, LEVER_EIO, path, strerror(errno));
    if (told && WIFEXITED(status) && WEXITSTATUS(status) == 0) return LEVER_OK;
    return fail(err, LEVER_EIO, path, "gnuplot failed (its message stands above)");
}

/* The file and gnuplot that draws into it. */
static int begin(const char *path, pid_t *pid, FILE **script, lever_error *err)
{
    const int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (out < 0) return fail(err, LEVER_EIO, path, strerror(errno));
    const int rc = start(pid, script, out, path, err);
    close(out);
    if (rc < 0) remove(path);
    return rc;
}

int bench_plot(const char *path, const bench_setup *s, const bench_summary *m, lever_error *err)
{
    pid_t pid;
    FILE *script;
    bool any = false;
    for (size_t i = 0; i < m->n; i++) any |= has_values(&m->groups[i]);
    if (!any) return fail(err, LEVER_EINVAL, path, "nothing was decoded; take a longer -n");
    int rc = begin(path, &pid, &script, err);
    if (rc < 0) return rc;
    if (s->n_cells > 1) plot_shares(script, path, s, m);
    else plot_policies(script, path, s, m);
    rc = finish(pid, script, path, err);
    if (rc < 0) remove(path);
    return rc;
}

static void plot_calibration(FILE *f, const char *path, const stats_calibration *c)
{
    put_head(f, path, 500);
    fputs("$guesses << EOD\n", f);
    for (int i = 0; i < STATS_BINS; i++) {
        if (c->n[i] < 1) continue;
        fprintf(f, "%.6f %.6f %.6f %.0f\n", c->stated[i] / c->n[i], c->right[i] / c->n[i],
                1.96 * sqrt(c->right[i] * (c->n[i] - c->right[i]) / c->n[i]) / c->n[i], c->n[i]);
    }
    fprintf(f, "EOD\nset title 'Probability of candidates whose parent was reached: %.0f guesses, expected "
               "calibration error %.3f'\n", stats_calibration_count(c), stats_calibration_error(c));
    fputs("set xrange [0:1]\nset yrange [0:1]\nset xlabel 'stated probability (mean of the bin)'\n"
          "set ylabel 'share that came true'\nset key left top\n"
          "plot x with lines dashtype 2 lc rgb '#999999' title 'perfect', "
          "$guesses using 1:2:3 with yerrorlines ls 2 lw 2 title 'measured, 95 %', "
          "$guesses using 1:2:(sprintf('%d', $4)) with labels offset 2.5,-0.8 font ',9' notitle\n", f);
}

int bench_plot_calibration(const char *path, const stats_calibration *c, lever_error *err)
{
    pid_t pid;
    FILE *script;
    if (stats_calibration_count(c) < 1)
        return fail(err, LEVER_EINVAL, path, "no policy stated a probability; 'lever' does");
    int rc = begin(path, &pid, &script, err);
    if (rc < 0) return rc;
    plot_calibration(script, path, c);
    rc = finish(pid, script, path, err);
    if (rc < 0) remove(path);
    return rc;
}
