/* Prompt files in every form, and files that are none. SPDX-License-Identifier: MIT */
#include "support/check.h"

#include <stdint.h>
#include <unistd.h>
#include <zlib.h>

#include "../apps/lever/prompts.h"

static char path[] = "/tmp/lever-prompts.XXXXXX";

static int load(const char *text, size_t limit, prompt_set *set, lever_error *e)
{
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(text, 1, strlen(text), f) == strlen(text) && fclose(f) == 0);
    *set = (prompt_set){ 0 };
    return prompts_load(set, path, limit, e);
}

static void expect(const char *text, const char *id, const char *kind, bool continues, const char *last_turn)
{
    prompt_set set;
    lever_error e = { 0 };
    CHECK_OK(load(text, 0, &set, &e), &e);
    CHECK_EQ(set.n, 1);
    if (set.n == 1) {
        const prompt *p = &set.items[0];
        CHECK_STR(p->id, id);
        CHECK_STR(p->kind, kind);
        CHECK_EQ(p->continues, continues);
        CHECK_STR(p->turns[p->n_turns - 1], last_turn);
    }
    prompts_free(&set);
}

static void every_form_is_understood(void)
{
    expect("{\"id\": \"s-1\", \"kind\": \"story\", \"prompt\": \"Once\"}\n", "s-1", "story", true, "Once");
    expect("{\"id\": \"c-1\", \"kind\": \"chat\", \"turns\": [\"a\", \"b\"]}", "c-1", "chat", false, "b");
    expect(
        "{\"task_id\": \"HumanEval/7\", \"prompt\": \"def f():\\n\", \"entry_point\": \"f\", \"test\": \"\"}",
        "HumanEval/7", "code", true, "def f():\n");
    expect("{\"question\": \"2 + 2?\", \"answer\": \"#### 4\", \"id\": \"q\"}", "q", "math", false, "2 + 2?");
    expect("{\"question_id\": 81, \"category\": \"writing\", \"turns\": [\"x\"], \"reference\": []}",
           "lever-prompts-81", "writing", false, "x");
    expect("{\"task_id\": 3, \"text\": \"Write f.\", \"code\": \"\", \"test_list\": [\"assert f(1)\", "
           "\"assert f(2)\"]}",
           "lever-prompts-3", "code", false,
           "Write f.\nYour code should pass these tests:\n\nassert f(1)\nassert f(2)");
    expect("[{\"task_id\": 3, \"prompt\": \"Write f.\", \"test_list\": []}]", "lever-prompts-3", "code",
           false, "Write f.");
}

static void names_are_made_where_a_file_has_none(void)
{
    prompt_set set;
    lever_error e = { 0 };
    CHECK_OK(load("{\"prompt\": \"a\"}\n\n  \n{\"prompt\": \"b\"}\r\n", 0, &set, &e), &e);
    CHECK_EQ(set.n, 2);
    CHECK(set.n == 2 && strcmp(set.items[0].id, set.items[1].id));
    CHECK(set.n == 2 && !strcmp(set.items[1].kind, set.items[0].kind) &&
          !strncmp(set.items[0].kind, "lever", 5));
    prompts_free(&set);
}

static void a_limit_stops_reading(void)
{
    prompt_set set;
    lever_error e = { 0 };
    CHECK_OK(load("{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\nnot JSON\n", 2, &set, &e), &e);
    CHECK_EQ(set.n, 2);
    prompts_free(&set);
    CHECK_OK(load("[{\"prompt\": \"a\"}, {\"prompt\": \"b\"}, 5]", 1, &set, &e), &e);
    CHECK_EQ(set.n, 1);
    prompts_free(&set);
}

static void bad_files_are_named_with_their_line(void)
{
    static const struct { const char *text, *says; } cases[] = {
        { "", "there is no prompt" },
        { "{\"prompt\": \"a\"}\nnonsense\n", "line 2: no JSON" },
        { "{\"prompt\": 5}", "line 1: no \"prompt\"" },
        { "{\"prompt\": \"\"}", "the prompt is empty" },
        { "{\"answer\": \"x\"}", "no \"prompt\", \"turns\"" },
        { "{\"turns\": []}", "0 messages" },
        { "{\"turns\": [\"a\", 7]}", "message 2" },
        { "[1]", "element 1: no JSON object" },
        { "[{\"prompt\": \"a\"},", "no JSON" },
        { "7\n", "line 1: no JSON" },
        { "{\"prompt\": \"\xff\"}", "no JSON" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        prompt_set set;
        lever_error e = { 0 };
        CHECK_EQ(load(cases[i].text, 0, &set, &e), LEVER_EFORMAT);
        if (!strstr(e.msg, cases[i].says)) fprintf(stderr, "%s: %s\n", cases[i].text, e.msg);
        CHECK(strstr(e.msg, cases[i].says) && strstr(e.msg, path));
        prompts_free(&set);
    }
    prompt_set set = { 0 };
    lever_error e = { 0 };
    CHECK_EQ(prompts_load(&set, "/nowhere/x.jsonl", 0, &e), LEVER_EIO);
    CHECK_EQ(prompts_load(&set, "/tmp", 0, &e), LEVER_EIO);
}

static void compressed_files_are_read_and_cut_ones_refused(void)
{
    prompt_set set = { 0 };
    lever_error e = { 0 };
    gzFile z = gzopen(path, "wb");
    char line[64];
    for (unsigned i = 0; i < 500; i++) { /* numbers that do not compress to nothing */
        snprintf(line, sizeof line, "{\"prompt\": \"%08x %08x\"}\n", i * 2654435761u, i * 40503u * i);
        gzputs(z, line);
    }
    CHECK_EQ(gzclose(z), Z_OK);
    CHECK_OK(prompts_load(&set, path, 0, &e), &e);
    CHECK_EQ(set.n, 500);
    prompts_free(&set);
    CHECK_EQ(truncate(path, 2000), 0);
    CHECK_EQ(prompts_load(&set, path, 0, &e), LEVER_EIO);
    prompts_free(&set);
}

int main(void)
{
    const int fd = mkstemp(path);
    if (fd < 0) SKIP("no place for a test file");
    close(fd);
    RUN(every_form_is_understood);
    RUN(names_are_made_where_a_file_has_none);
    RUN(a_limit_stops_reading);
    RUN(bad_files_are_named_with_their_line);
    RUN(compressed_files_are_read_and_cut_ones_refused);
    unlink(path);
    return check_done();
}
