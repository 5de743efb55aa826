/* SPDX-License-Identifier: MIT */
#include "plan_report.h"

#include <stdio.h>
#include <string.h>

#include "options.h"

static const char *const bounds[] = { "flash", "compute", "draft" };
enum { NAME_MOST = 21, WIDTH = 79 };

/* Devices of the table beside the CPU, as footnotes. */
typedef struct footnotes {
    const char *names[16];
    uint32_t n;
} footnotes;

static uint32_t footnote(footnotes *f, const char *name)
{
    for (uint32_t i = 0; i < f->n; i++)
        if (!strcmp(f->names[i], name)) return i + 1;
    if (f->n < sizeof f->names / sizeof *f->names) f->names[f->n++] = name;
    return f->n;
}

/* "chain:4", "chain:4 draft@1", "lever @1 draft@1". */
static void name_of(char *buf, size_t cap, const lever_choice *c, footnotes *f)
{
    int at = snprintf(buf, cap, "%s", c->policy);
    if (c->device[0]) at += snprintf(buf + at, cap - (size_t)at, " @%u", footnote(f, c->device));
    if (c->draft_device[0]) snprintf(buf + at, cap - (size_t)at, " draft@%u", footnote(f, c->draft_device));
}

/* "1.81 GB" read per sweep; "-": nothing. */
static void read_of(char *buf, size_t cap, uint64_t bytes)
{
    if (bytes >= 1000000000) snprintf(buf, cap, "%.2f GB", (double)bytes * 1e-9);
    else if (bytes) snprintf(buf, cap, "%.1f MB", (double)bytes * 1e-6);
    else snprintf(buf, cap, "-");
}

static void time_of(char *buf, size_t cap, double s)
{
    if (s >= 1) snprintf(buf, cap, "%.2f s", s);
    else snprintf(buf, cap, "%.3g ms", s * 1e3);
}

static void print_row(const lever_choice *c, bool best, footnotes *f)
{
    char name[160], mem[32], read[32], cycle[32];
    name_of(name, sizeof name, c, f);
    format_bytes(mem, sizeof mem, (double)(c->fits ? c->planned_bytes : c->needed_bytes));
    read_of(read, sizeof read, c->streamed_bytes);
    time_of(cycle, sizeof cycle, c->cycle_s);
    printf("%c %-*.*s", best ? '>' : ' ', NAME_MOST, NAME_MOST, name);
    if (!c->fits) printf("%9s  needs %s\n", "-", mem);
    else if (c->tokens_per_s <= 0) printf("%9s  not in the profile\n", "-");
    else
        printf("%9.3g %6.2f %5.1f %8s %-7s %8s %8s\n", c->tokens_per_s, c->tokens, c->rows, cycle, bounds[c->bound],
               mem, read);
}

/* A sentence in lines of at most WIDTH columns. */
static void print_wrapped(const char *text)
{
    while (strlen(text) > WIDTH) {
        int n = WIDTH;
        while (n > 0 && text[n] != ' ') n--;
        if (n == 0) n = WIDTH;
        printf("%.*s\n", n, text);
        text += n + (text[n] == ' ');
    }
    puts(text);
}

static void print_acceptance(const lever_advice *a)
{
    if (a->acceptance_measured) printf("acceptance counted at %.0f tokens", a->tokens_seen);
    else printf("acceptance assumed, not measured");
    printf("; by position in a chain");
    for (int i = 0; i < 4; i++) printf(" %.2f", a->chain[i]);
    putchar('\n');
}

static bool any_drafts(const lever_advice *a)
{
    for (uint32_t i = 0; i < a->n_choices; i++)
        if (a->choices[i].drafts) return true;
    return false;
}

void plan_report_table(const lever_advice *a)
{
    char limit[32];
    footnotes f = { 0 };
    printf("limit %s, context %u\n", format_bytes(limit, sizeof limit, (double)a->limit_bytes),
           a->choices[a->best].n_ctx);
    if (any_drafts(a)) print_acceptance(a);
    printf("\n  %-*s%9s %6s %5s %8s %-7s %8s %8s\n", NAME_MOST, "configuration", "tokens/s", "tokens", "rows", "cycle",
           "bound", "memory", "read");
    for (uint32_t i = 0; i < a->n_choices; i++) print_row(&a->choices[i], a->any && i == a->best, &f);
    for (uint32_t i = 0; i < f.n; i++) printf("  @%u: %s\n", i + 1, f.names[i]);
    putchar('\n');
    print_wrapped(a->why);
    for (uint32_t i = 0; i < a->n_choices; i++)
        if (a->any && a->choices[i].fits && a->choices[i].n_ctx < a->choices[a->best].n_ctx) {
            puts("Configurations whose context would be cut short are not chosen.");
            break;
        }
}

static const lever_choice *plain_of(const lever_advice *a)
{
    for (uint32_t i = 0; i < a->n_choices; i++)
        if (!a->choices[i].drafts && a->choices[i].tokens_per_s > 0) return &a->choices[i];
    return NULL;
}

void plan_report_limits(const lever_advice *advices, uint32_t n)
{
    footnotes f = { 0 };
    double before = 0;
    printf("  %-9s  %-*s%9s %8s %-7s %8s %8s\n", "limit", NAME_MOST, "best", "tokens/s", "none", "bound", "read",
           "gain");
    for (uint32_t i = 0; i < n; i++) {
        const lever_advice *a = &advices[i];
        const lever_choice *c = &a->choices[a->best], *plain = plain_of(a);
        char limit[32], name[160], read[32], none[32] = "-", gain[32] = "";
        format_bytes(limit, sizeof limit, (double)a->limit_bytes);
        if (!a->any) {
            printf("  %-9s  %s\n", limit, a->why);
            continue;
        }
        name_of(name, sizeof name, c, &f);
        read_of(read, sizeof read, c->streamed_bytes);
        if (plain) snprintf(none, sizeof none, "%.3g", plain->tokens_per_s);
        if (before > 0) snprintf(gain, sizeof gain, "%+.0f %%", 100 * (c->tokens_per_s / before - 1));
        printf("  %-9s  %-*.*s%9.3g %8s %-7s %8s %8s\n", limit, NAME_MOST, NAME_MOST, name, c->tokens_per_s, none,
               bounds[c->bound], read, gain);
        before = c->tokens_per_s;
    }
    for (uint32_t i = 0; i < f.n; i++) printf("  @%u: %s\n", i + 1, f.names[i]);
    if (n && any_drafts(&advices[0])) print_acceptance(&advices[0]);
}

void plan_report_enough(uint64_t bytes, double speed, double most)
{
    char text[32];
    printf("\nmore memory stops paying at %s: %.3g tokens/s there, %.3g with any amount\n",
           format_bytes(text, sizeof text, (double)bytes), speed, most);
}

static json_t *choice_json(const lever_choice *c)
{
    return json_pack("{s:s, s:b, s:s, s:s, s:b, s:b, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, "
                     "s:f, s:s, s:I, s:I, s:I, s:I, s:I, s:b}",
                     "policy", c->policy, "drafts", (int)c->drafts, "device", c->device, "draft_device",
                     c->draft_device, "fits", (int)c->fits, "measured", (int)c->measured, "n_ctx", (int)c->n_ctx,
                     "max_rows", (int)c->max_rows, "tokens_per_s", c->tokens_per_s, "tokens_per_cycle", c->tokens,
                     "rows", c->rows, "draft_rows", c->draft_rows, "draft_batches", c->draft_batches, "cycle_s",
                     c->cycle_s, "draft_s", c->draft_s, "sweep_s", c->sweep_s, "project_s", c->project_s, "wait_s",
                     c->wait_s, "flash_s", c->flash_s, "bound", bounds[c->bound], "planned_bytes",
                     (json_int_t)c->planned_bytes, "needed_bytes", (json_int_t)c->needed_bytes, "resident_bytes",
                     (json_int_t)c->resident_bytes, "streamed_bytes", (json_int_t)c->streamed_bytes, "ring_bytes",
                     (json_int_t)c->ring_bytes, "head_resident", (int)c->head_resident);
}

json_t *plan_report_json(const lever_advice *a)
{
    json_t *choices = json_array(), *chain = json_array();
    for (uint32_t i = 0; i < a->n_choices; i++) json_array_append_new(choices, choice_json(&a->choices[i]));
    for (int i = 0; i < LEVER_ADVICE_CHAIN; i++) json_array_append_new(chain, json_real(a->chain[i]));
    return json_pack("{s:I, s:b, s:b, s:i, s:s, s:b, s:f, s:o, s:o}", "limit_bytes", (json_int_t)a->limit_bytes, "any",
                     (int)a->any, "speculate", (int)a->speculate, "best", (int)a->best, "why", a->why,
                     "acceptance_measured", (int)a->acceptance_measured, "tokens_seen", a->tokens_seen, "chain", chain,
                     "choices", choices);
}
