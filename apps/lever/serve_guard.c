/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "serve_guard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int add_key(server *s, const char *key, size_t n, const char *where)
{
    if (n == 0 || n >= sizeof s->keys[0] || s->n_keys == SERVE_KEYS_MOST) {
        fprintf(stderr, "lever: %s: at most %d API keys of 1 to %zu bytes are taken\n", where,
                SERVE_KEYS_MOST, sizeof s->keys[0] - 1);
        return EXIT_USAGE;
    }
    memcpy(s->keys[s->n_keys++], key, n);
    return EXIT_OK;
}

int guard_load_keys(server *s)
{
    const serve_args *a = &s->args;
    const char *env = getenv("LEVER_API_KEY");
    if (a->api_key && add_key(s, a->api_key, strlen(a->api_key), "--api-key")) return EXIT_USAGE;
    if (!a->api_key && env && *env && add_key(s, env, strlen(env), "LEVER_API_KEY")) return EXIT_USAGE;
    if (!a->api_key_file) return EXIT_OK;
    FILE *f = fopen(a->api_key_file, "r");
    if (!f) {
        fprintf(stderr, "lever: the API keys in '%s' can not be read: %s\n", a->api_key_file,
                strerror(errno));
        return EXIT_IO;
    }
    char line[512];
    int code = EXIT_OK;
    while (code == EXIT_OK && fgets(line, sizeof line, f)) {
        char *key = line + strspn(line, " \t");
        size_t n = strlen(key);
        while (n && strchr(" \t\r\n", key[n - 1])) n--;
        if (n && *key != '#') code = add_key(s, key, n, a->api_key_file);
    }
    fclose(f);
    if (code == EXIT_OK && s->n_keys == 0) {
        fprintf(stderr, "lever: '%s' has no API key in it\n", a->api_key_file);
        code = EXIT_USAGE;
    }
    return code;
}

/* Is name [n] in a list separated by commas? Letters of either case are the same. */
static bool is_listed(const char *list, const char *name, size_t n)
{
    for (const char *p = list; p && *p;) {
        const size_t len = strcspn(p, ",");
        if (len == n && !strncasecmp(p, name, n)) return true;
        p += len + (p[len] == ',');
    }
    return false;
}

bool guard_host(const server *s, const char *host)
{
    if (!host || (!s->loopback && !s->args.allow_host)) return true;
    const char *close = *host == '[' ? strchr(host, ']') : NULL; /* [::1]:8080 */
    const size_t n = close ? (size_t)(close + 1 - host) : strcspn(host, ":");
    return is_listed("localhost,127.0.0.1,[::1]", host, n) || is_listed(s->args.host, host, n) ||
           is_listed(s->args.allow_host, host, n);
}

bool guard_origin(const server *s, const char *origin, const char *host)
{
    const char *cors = s->args.cors;
    if (!origin || (cors && (!strcmp(cors, "*") || is_listed(cors, origin, strlen(origin))))) return true;
    const char *at = strstr(origin, "://");
    return at && host && !strcasecmp(at + 3, host);
}

/* Takes as long whatever the key is that the client sent. */
static bool is_same(const char *key, const char *sent)
{
    const size_t n = strlen(sent), n_key = strlen(key);
    unsigned char other = n != n_key;
    for (size_t i = 0; i < n; i++) other |= (unsigned char)(sent[i] ^ key[i % n_key]);
    return other == 0;
}

int guard_key(const server *s, const char *authorization)
{
    static const char scheme[] = "Bearer ";
    if (s->n_keys == 0) return 0;
    if (!authorization || strncasecmp(authorization, scheme, sizeof scheme - 1) != 0) return -1;
    int found = -1;
    for (uint32_t i = 0; i < s->n_keys; i++)
        if (is_same(s->keys[i], authorization + sizeof scheme - 1)) found = (int)i + 1;
    return found;
}
