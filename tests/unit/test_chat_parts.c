/* The parts of `lever chat` that need no model: talks, their files, answers on a screen.
 * SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "support/check.h"

#include <sys/stat.h>
#include <unistd.h>

#include "../../apps/lever/screen.h"
#include "../../apps/lever/talk.h"
#include "../../apps/lever/talk_file.h"

static void expect_talk(const talk *t, const char *want)
{
    char got[1024] = "";
    for (size_t i = 0; i < t->n; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s:%.*s|", t->m[i].role, (int)t->m[i].len,
                 t->m[i].text);
    CHECK_STR(got, want);
}

static void a_talk_keeps_its_messages(void)
{
    talk t = { 0 };
    CHECK(talk_set_system(&t, "", 0) && !talk_system(&t));
    CHECK(talk_add(&t, "user", "hi", 2) && talk_add(&t, "assistant", "hello you", 5));
    expect_talk(&t, "user:hi|assistant:hello|");
    CHECK(talk_set_system(&t, "be brief", 8));
    CHECK(talk_system(&t) == &t.m[0]);
    CHECK(talk_set_system(&t, "be a cat", 8));
    expect_talk(&t, "system:be a cat|user:hi|assistant:hello|");
    CHECK(talk_set_system(&t, "-", 0));
    expect_talk(&t, "user:hi|assistant:hello|");
    for (int i = 0; i < 50; i++) CHECK(talk_add(&t, "user", "x", 1));
    CHECK(talk_set_system(&t, "again", 5));
    CHECK_EQ(t.n, 53);
    talk_cut(&t, 2);
    expect_talk(&t, "system:again|user:hi|");
    talk_free(&t);
    CHECK_EQ(t.n, 0);
}

/* ---- files ---- */

static char path[] = "/tmp/lever-talk-XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void a_saved_talk_is_loaded_as_it_was(void)
{
    talk t = { 0 }, back = { 0 };
    lever_error err = { 0 };
    talk_about about = { .model = "big.gguf", .form = "qwen3", .think = "hide",
                         .sampling = { 0.25f, 7, 0.5f, 0.125f, 1.5f, 3, 12345678901234567ull } };
    talk_about read = { .think = "on" };
    CHECK(talk_add(&t, "system", "\"quoted\"\n\t\x01", 11) &&
          talk_add(&t, "user", "\xc3\xa9\xf0\x9f\x98\x80", 6));
    CHECK(talk_add(&t, "assistant", "<think>\nhm\n</think>\n\n", 21));
    CHECK_OK(talk_save(&t, &about, path, &err), &err);
    CHECK_OK(talk_load(&back, &read, path, &err), &err);
    CHECK_EQ(back.n, t.n);
    for (size_t i = 0; i < t.n && i < back.n; i++) {
        CHECK_STR(back.m[i].role, t.m[i].role);
        CHECK_STR(back.m[i].text, t.m[i].text);
    }
    CHECK(!memcmp(&read.sampling.seed, &about.sampling.seed, sizeof read.sampling.seed));
    CHECK(read.sampling.temperature == 0.25f && read.sampling.top_k == 7 && read.sampling.top_p == 0.5f);
    CHECK(read.sampling.min_p == 0.125f && read.sampling.repeat_penalty == 1.5f &&
          read.sampling.repeat_last_n == 3);
    CHECK_STR(read.model, "big.gguf");
    CHECK_STR(read.form, "qwen3");
    CHECK_STR(read.think, "hide");
    struct stat st;
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600); /* as mkstemp made it, and as we make it */
    CHECK_EQ(talk_save(&t, &about, "/no/such/folder/x", &err), LEVER_EIO);
    CHECK(strstr(err.msg, "/no/such/folder/x") != NULL);
    talk_free(&t);
    talk_free(&back);
}

static void garbage_is_refused_and_said_why(void)
{
    static const struct { const char *text, *says;
    } cases[] = {
        { "", "line" },
        { "hello", "line 1" },
        { "\x7f"
          "ELF\x02\x01",
          "line" },
        { "[]", "lever_talk" },
        { "{\"lever_talk\": 2, \"messages\": []}", "version is 2" },
        { "{\"lever_talk\": 1}", "no list of messages" },
        { "{\"lever_talk\": 1, \"messages\": {}}", "no list of messages" },
        { "{\"lever_talk\": 1, \"messages\": [3]}", "message 1 has no role" },
        { "{\"lever_talk\": 1, \"messages\": [{\"role\": \"robot\", \"content\": \"x\"}]}",
          "message 1 has no role" },
        { "{\"lever_talk\": 1, \"messages\": [{\"role\": \"user\"}]}", "message 1 has no text" },
        { "{\"lever_talk\": 1, \"messages\": [{\"role\": \"user\", \"content\": \"a\"},"
          "{\"role\": \"system\", \"content\": \"b\"}]}",
          "message 2 has no role that can stand there" },
        { "{\"lever_talk\": 1, \"messages\": [], \"settings\": {\"temperature\": -1}}", "out of its range" },
        { "{\"lever_talk\": 1, \"messages\": [], \"settings\": {\"seed\": \"x\"}}", "out of its range" },
        { "{\"lever_talk\": 1, \"messages\": [], \"settings\": {\"top_k\": 1e300}}", "out of its range" },
        { "{\"lever_talk\": 1, \"lever_talk\": 1, \"messages\": []}", "line 1" },
        { "{\"lever_talk\": 1, \"messages\": [{\"role\": \"user\", \"content\": \"\\u0000\"}]}", "line 1" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        talk t = { 0 };
        talk_about about = { .model = "m", .sampling = { .seed = 9 } };
        lever_error err = { 0 };
        write_file(cases[i].text);
        CHECK_EQ(talk_load(&t, &about, path, &err), LEVER_EFORMAT);
        if (!strstr(err.msg, cases[i].says)) CHECK_STR(err.msg, cases[i].says);
        CHECK(t.n == 0 && about.sampling.seed == 9 && !strcmp(about.model, "m"));
        talk_free(&t);
    }
    talk t = { 0 };
    talk_about about = { .model = "" };
    lever_error err = { 0 };
    CHECK_EQ(talk_load(&t, &about, "/no/such/file", &err), LEVER_EIO);
    CHECK_EQ(talk_load(&t, &about, "/dev/zero", &err), LEVER_EFORMAT);
    CHECK_EQ(talk_load(&t, &about, "/tmp", &err), LEVER_EFORMAT);
}

/* ---- screen ---- */

/* What a screen makes of an answer in parts: '!' before a text of reasoning, '+' before one from the draft.
 * */
static void expect_screen(screen s, const char *const *parts, const char *want)
{
    static char got[4096];
    char *text = NULL;
    size_t n = 0;
    FILE *was = stdout, *f = open_memstream(&text, &n);
    stdout = f;
    screen_begin(&s);
    for (; *parts; parts++) {
        const char *p = *parts;
        const bool reasoning = *p == '!';
        p += reasoning;
        s.source = *p == '+' ? LEVER_FROM_DRAFT : LEVER_FROM_TARGET;
        p += *p == '+';
        screen_part(&s, reasoning ? LEVER_PART_REASONING : LEVER_PART_ANSWER, p, strlen(p));
    }
    screen_end(&s);
    screen_gap(&s);
    fclose(f);
    stdout = was;
    snprintf(got, sizeof got, "%.*s", (int)n, text);
    free(text);
    CHECK_STR(got, want);
    CHECK_EQ(s.write_errno, 0);
}
#define SCREEN(s, want, ...) expect_screen(s, (const char *const[]){ __VA_ARGS__, NULL }, want)

static void reasoning_stands_apart(void)
{
    const screen bare = { 0 }, plain = { .terminal = true }, colour = { .terminal = true, .colour = true };
    SCREEN(bare, "hi\n", "hi");
    SCREEN(bare, "hi\n\n", "hi\n");
    SCREEN(bare, "hi\n", "!hm", "hi"); /* what a pipe is for is the answer */
    SCREEN(plain, "hm, well\n\nhi\n\n", "!hm,", "! well", "hi\n");
    SCREEN(colour, "\033[0;2mhm\033[0m\n\nhi\n\n", "!hm", "hi");
    const screen hidden = { .terminal = true, .colour = true, .hide_reasoning = true };
    SCREEN(hidden, "\033[0;2m(thinking ...)\033[0m\n\nhi\n\n", "!hm", "! well", "hi");
}

static void tokens_are_coloured_by_their_source(void)
{
    const screen s = { .terminal = true, .colour = true, .show_draft = true };
    SCREEN(s, "\033[0;33mOnce\033[0;32m upon a\033[0;33m time\033[0m\n\n", "Once", "+ upon", "+ a", " time");
    SCREEN(s, "\033[0;2;32mhm\033[0m\n\n\033[0;33mhi\033[0m\n\n", "!+hm", "hi");
    const screen none = { .terminal = true, .show_draft = true };
    SCREEN(none, "Once upon\n\n", "Once", "+ upon");
}

static void nothing_in_a_text_drives_the_terminal(void)
{
    const screen s = { .terminal = true }, piped = { 0 };
    SCREEN(s, "a\\x1b[2Jb\\x07\tc\n\\x0d\\x7f\\u009b1m\xc2\xa0\xc3\xa9\n\n",
           "a\033[2Jb\007\tc\n\r\x7f\xc2\x9b" "1m\xc2\xa0\xc3\xa9");
    SCREEN(piped, "a\033[2J\n", "a\033[2J"); /* a pipe gets the text as it is */
}

int main(void)
{
    const int fd = mkstemp(path);
    if (fd < 0) SKIP("no place for a test file");
    close(fd);
    RUN(a_talk_keeps_its_messages);
    RUN(a_saved_talk_is_loaded_as_it_was);
    RUN(garbage_is_refused_and_said_why);
    RUN(reasoning_stands_apart);
    RUN(tokens_are_coloured_by_their_source);
    RUN(nothing_in_a_text_drives_the_terminal);
    unlink(path);
    return check_done();
}
