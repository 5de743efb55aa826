/* How many files the process has open: tests of failures compare before and after. SPDX-License-Identifier: MIT */
#ifndef LEVER_TESTS_SUPPORT_OPEN_FDS_H
#define LEVER_TESTS_SUPPORT_OPEN_FDS_H

#include <dirent.h>

static inline int open_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d)) n++;
    if (d) closedir(d);
    return n;
}

#endif
