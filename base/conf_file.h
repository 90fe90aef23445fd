/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a configuration file holds, before its values are typed. Private to conf: conf_file.c reads
 * the text into it, conf.c answers questions from it.
 */
#ifndef BASE_CONF_FILE_H
#define BASE_CONF_FILE_H

#include "base/arena.h"
#include "base/conf.h"

struct entry {
    struct slice key;
    struct slice value;
    int line;
    struct entry *next;
};

struct section {
    struct slice name;
    int line; /* 0: not in the file, defaults only */
    const struct conf_section *known;
    struct entry *entries;
    struct entry *last;
    struct conf_value *values; /* one for each option of the known table */
    struct section *next;
};

/* A secret's content; wiped before it is freed. */
struct secret {
    struct buf text;
    struct secret *next;
};

struct conf {
    struct arena arena;
    const char *path; /* as given, for errors */
    const char *folder;
    const struct conf_section *known;
    struct section *sections;
    struct section *last;
    struct secret *secrets;
};

void *conf_take(struct conf *c, size_t n); /* zeroed; NULL when out of memory */
struct section *conf_find(const struct conf *c, struct slice name);
struct section *conf_add_section(struct conf *c, struct slice name,
                                 const struct conf_section *known, int line);
/* "section [x] has no option 'y'. Did you mean 'z'?", from either table (which may be NULL). */
void conf_say_unknown(const struct conf_option *a, const struct conf_option *b, struct slice key,
                      struct slice section, char out[300]);
/* Adds the sections and entries of a file's text. ERR_CONFIG with file and line. */
int conf_read_text(struct conf *c, struct slice text, struct err *e);

#endif
