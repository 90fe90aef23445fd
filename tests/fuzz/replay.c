/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main() of fuzz targets where there is no libFuzzer: runs every file of the corpus, then changed
 * copies of them for a while. An input that kills the target is written to a file that is named,
 * and running the program with that file repeats it. TARGET [--seconds N] [--seed N]
 * FILE-OR-FOLDER...
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { INPUT_MAX = 65536, CORPUS_MAX = 1000, PATH_SIZE = 4096, HANG_S = 10 };

struct input {
    uint8_t *bytes;
    size_t n;
};

static struct input corpus[CORPUS_MAX];
static size_t corpus_n;
static uint8_t current[INPUT_MAX];
static size_t current_n;
static uint64_t dice = 1;

/* The sanitizers call this before they end the process, if they are there. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void keep_current(void)
{
    static const char said[] = "\nthe input was kept as fuzz-failure\n";
    int fd = open("fuzz-failure", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, current, current_n) < 0)
        return;
    (void)close(fd);
    if (write(STDERR_FILENO, said, sizeof said - 1) < 0)
        return;
}

static void on_signal(int number)
{
    keep_current();
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static uint32_t random_below(uint32_t n)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return n ? (uint32_t)(dice >> 32) % n : 0;
}

static void run_current(void)
{
    /* A copy of its exact size, so that reading past its end is seen. */
    uint8_t *exact = malloc(current_n ? current_n : 1);
    if (!exact)
        exit(1);
    memcpy(exact, current, current_n);
    (void)alarm(HANG_S);
    (void)LLVMFuzzerTestOneInput(exact, current_n);
    (void)alarm(0);
    free(exact);
}

static void set_current(const struct input *i)
{
    memcpy(current, i->bytes, i->n);
    current_n = i->n;
}

static void add_file(const char *path)
{
    struct input i = {malloc(INPUT_MAX), 0};
    int fd = open(path, O_RDONLY);
    if (fd < 0 || !i.bytes) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(2);
    }
    ssize_t n = 0;
    while (i.n < INPUT_MAX && (n = read(fd, i.bytes + i.n, INPUT_MAX - i.n)) > 0)
        i.n += (size_t)n;
    (void)close(fd);
    if (corpus_n == CORPUS_MAX) {
        (void)fprintf(stderr, "over %d files\n", CORPUS_MAX);
        exit(2);
    }
    corpus[corpus_n++] = i;
}

static void add_path(const char *path)
{
    struct dirent **names = NULL;
    struct stat s;
    if (stat(path, &s) || !S_ISDIR(s.st_mode)) {
        add_file(path);
        return;
    }
    int n = scandir(path, &names, NULL, alphasort); /* sorted: the same seed, the same run */
    for (int i = 0; i < n; i++) {
        char file[PATH_SIZE];
        int length = snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && length > 0 && length < PATH_SIZE)
            add_file(file);
        free(names[i]);
    }
    free(names);
}

static void insert(const uint8_t *bytes, size_t n)
{
    if (n > INPUT_MAX - current_n)
        n = INPUT_MAX - current_n;
    size_t at = random_below((uint32_t)current_n + 1);
    memmove(current + at + n, current + at, current_n - at);
    memcpy(current + at, bytes, n);
    current_n += n;
}

static void insert_part_of(const struct input *from)
{
    uint8_t part[256];
    if (!from->n)
        return;
    size_t at = random_below((uint32_t)from->n);
    size_t n = 1 + random_below(sizeof part);
    if (n > from->n - at)
        n = from->n - at;
    memcpy(part, from->bytes + at, n);
    insert(part, n);
}

static void cut(void)
{
    if (!current_n)
        return;
    size_t at = random_below((uint32_t)current_n);
    size_t n = 1 + random_below(random_below(8) ? 8 : (uint32_t)current_n);
    if (n > current_n - at)
        n = current_n - at;
    memmove(current + at, current + at + n, current_n - at - n);
    current_n -= n;
}

static void change_once(void)
{
    static const uint8_t telling[] = "\"\\{}[]<>&;:,=\r\n\t \0\x01\x7F\x80\xC0\xED\xF4\xFF"
                                     "09-";
    uint8_t byte = (uint8_t)random_below(256);
    if (random_below(2))
        byte = telling[random_below(sizeof telling - 1)];
    switch (random_below(6)) {
    case 0:
        if (current_n)
            current[random_below((uint32_t)current_n)] ^= (uint8_t)(1u << random_below(8));
        break;
    case 1:
        if (current_n)
            current[random_below((uint32_t)current_n)] = byte;
        break;
    case 2:
        insert(&byte, 1);
        break;
    case 3:
        cut();
        break;
    case 4:
        insert_part_of(&corpus[random_below((uint32_t)corpus_n)]);
        break;
    default:
        insert_part_of(&(struct input){current, current_n});
        break;
    }
}

static void run_changed(long seconds)
{
    time_t end = time(NULL) + seconds;
    unsigned long runs = 0;
    while (time(NULL) < end)
        for (int i = 0; i < 64; i++, runs++) {
            set_current(&corpus[random_below((uint32_t)corpus_n)]);
            for (uint32_t n = 1 + random_below(6); n > 0; n--)
                change_once();
            run_current();
        }
    (void)fprintf(stderr, "%lu changed inputs\n", runs);
}

static void catch_failures(void)
{
    static const int deadly[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(keep_current);
        (void)signal(SIGALRM, on_signal);
        (void)signal(SIGABRT, on_signal);
        return;
    }
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        (void)signal(deadly[i], on_signal);
}

int main(int argc, char **argv)
{
    long seconds = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            seconds = strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            dice = strtoull(argv[++i], NULL, 10) | 1;
        else
            add_path(argv[i]);
    }
    if (!corpus_n) {
        (void)fprintf(stderr, "no corpus\n");
        return 2;
    }
    (void)fprintf(stderr, "seed %llu, %zu files\n", (unsigned long long)dice, corpus_n);
    catch_failures();
    for (size_t i = 0; i < corpus_n; i++) {
        set_current(&corpus[i]);
        run_current();
    }
    run_changed(seconds);
    for (size_t i = 0; i < corpus_n; i++)
        free(corpus[i].bytes);
    return 0;
}
