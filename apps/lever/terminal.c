/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static struct termios found;            /* as it was at the start */
static bool has_terminal;
static volatile sig_atomic_t interrupts, changes, marks_pastes;
static lever_session *_Atomic answering; /* stored by the main thread, read by the handler on it */
static volatile sig_atomic_t cancelled; /* this answer was told to stop */
static int wake[2] = { -1, -1 };        /* a pipe: a signal before the wait for input ends that wait, too */

static void wake_up(void)
{
    const ssize_t done = write(wake[1], "", 1);
    (void)done; /* full: there is a byte already */
}

static void say(const char *text, size_t n)
{
    const int fd = isatty(STDOUT_FILENO) ? STDOUT_FILENO : STDERR_FILENO;
    if (isatty(fd)) {
        const ssize_t done = write(fd, text, n);
        (void)done;
    }
}

static void put_back(void)
{
    static const char pastes_off[] = "\033[?2004l", colour_off[] = "\033[0m\n";
    if (marks_pastes) say(pastes_off, sizeof pastes_off - 1);
    say(colour_off, sizeof colour_off - 1);
    if (has_terminal) tcsetattr(STDIN_FILENO, TCSANOW, &found);
}

static void on_interrupt(int sig)
{
    const int saved = errno;
    (void)sig;
    interrupts++;
    wake_up();
    errno = saved;
    lever_session *s = atomic_load(&answering);
    if (!s && has_terminal) return;
    if (!s || cancelled) { /* nobody is there to go on talking, or does not want to wait */
        put_back();
        _exit(EXIT_CANCEL);
    }
    cancelled = 1;
    lever_session_cancel(s);
}

static void on_end(int sig)
{
    put_back();
    signal(sig, SIG_DFL);
    raise(sig);
}

/* Ctrl-Z: the shell gets the terminal as it was, and we take it again as we left it. */
static void on_stop(int sig)
{
    struct termios now;
    const int saved = errno;
    const bool had = has_terminal && tcgetattr(STDIN_FILENO, &now) == 0;
    (void)sig;
    if (had) put_back();
    raise(SIGSTOP);
    if (had) tcsetattr(STDIN_FILENO, TCSANOW, &now);
    changes++;
    wake_up();
    errno = saved;
}

static void on_resize(int sig)
{
    const int saved = errno;
    (void)sig;
    changes++;
    wake_up();
    errno = saved;
}

static const struct { int sig; void (*handler)(int); } caught[] = {
    { SIGINT, on_interrupt }, { SIGTERM, on_end },   { SIGHUP, on_end },
    { SIGQUIT, on_end },      { SIGTSTP, on_stop }, { SIGWINCH, on_resize },
};

static void catch_all(bool on)
{
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++) {
        struct sigaction a; /* what is being written goes on; terminal_wait is woken */
        memset(&a, 0, sizeof a);
        a.sa_flags = SA_RESTART;
        a.sa_handler = on ? caught[i].handler : SIG_DFL;
        sigemptyset(&a.sa_mask);
        sigaction(caught[i].sig, &a, NULL);
    }
}

void terminal_begin(void)
{
    has_terminal = tcgetattr(STDIN_FILENO, &found) == 0;
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0) wake[0] = wake[1] = -1; /* then EINTR has to do */
    catch_all(true);
}

void terminal_end(void)
{
    catch_all(false);
    if (has_terminal) tcsetattr(STDIN_FILENO, TCSADRAIN, &found);
    for (int i = 0; i < 2; i++) {
        if (wake[i] >= 0) close(wake[i]);
        wake[i] = -1;
    }
}

bool terminal_wait(void)
{
    struct pollfd fds[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = wake[0], .events = POLLIN } };
    char drained[64];
    const int n = poll(fds, 2, -1);
    const bool woken = n < 0 || fds[1].revents;
    while (woken && wake[0] >= 0 && read(wake[0], drained, sizeof drained) > 0) continue;
    return !woken;
}

void terminal_answering(lever_session *session)
{
    cancelled = 0;
    atomic_store(&answering, session);
    if (!session || !interrupts) return;
    cancelled = 1; /* a Ctrl-C that came since the question was read */
    lever_session_cancel(session);
}

bool terminal_interrupted(void)
{
    const bool was = interrupts > 0;
    interrupts = 0;
    return was;
}

bool terminal_changed(void)
{
    const bool was = changes > 0;
    changes = 0;
    return was;
}

void terminal_mark_pastes(bool on)
{
    marks_pastes = on;
    if (on) say("\033[?2004h", 8);
    else say("\033[?2004l", 8);
}

void terminal_echo(bool on)
{
    struct termios now;
    if (!has_terminal || tcgetattr(STDIN_FILENO, &now) != 0) return;
    now.c_lflag = on ? now.c_lflag | (found.c_lflag & ECHO) : now.c_lflag & ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSANOW, &now);
}

void terminal_clear_line(void) { say("\r\033[J", 4); }
