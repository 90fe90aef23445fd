/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/adapter_host.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"

#include <dlfcn.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void on_log(void *context, uint32_t level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

static void die_at(int *countdown)
{
    if (*countdown > 0 && --*countdown == 0)
        (void)raise(SIGKILL);
}

static int32_t on_next(void *context, const struct mgc_record **out, struct mgc_error *e)
{
    struct host *h = context;
    (void)e;
    h->noted->nexts++;
    die_at(&h->kill_at_next);
    if (h->cancel_at_next > 0 && --h->cancel_at_next == 0)
        assert_int_equal(write(h->cancel[1], "x", 1), 1);
    if (h->place == h->sample->batch.records)
        return MGC_END;
    *out = &h->sample->records[h->place++];
    return MGC_OK;
}

static int32_t on_rewind(void *context, struct mgc_error *e)
{
    struct host *h = context;
    (void)e;
    h->place = 0;
    return MGC_OK;
}

static void note_facts(struct host *h, const struct mgc_fact *facts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        int at = h->noted->fact_count++;
        assert_true(at < NOTED_FACTS_MAX);
        assert_true(facts[i].name.n < sizeof h->noted->facts[at].name);
        assert_true(facts[i].value.n < sizeof h->noted->facts[at].value);
        memcpy(h->noted->facts[at].name, facts[i].name.p, (size_t)facts[i].name.n + 1);
        memcpy(h->noted->facts[at].value, facts[i].value.p, (size_t)facts[i].value.n + 1);
    }
}

static int32_t on_settle(void *context, uint64_t first, uint64_t last, int32_t verdict,
                         const struct mgc_fact *facts, uint32_t count, const char *text,
                         struct mgc_error *e)
{
    struct host *h = context;
    (void)e;
    die_at(&h->kill_before_settle);
    assert_true(first <= last && last < h->sample->batch.records);
    assert_true(verdict == MGC_OK || verdict == MGC_RETRY || (verdict == MGC_REJECTED && text));
    for (uint64_t i = first; i <= last; i++) {
        h->noted->verdict[i] = verdict;
        (void)snprintf(h->noted->text[i], sizeof h->noted->text[i], "%s", text ? text : "");
    }
    note_facts(h, facts, count);
    h->noted->settles++;
    die_at(&h->kill_after_settle);
    return MGC_OK;
}

void host_init_linked(struct host *h, mgc_adapter_entry *entry, const char *scratch)
{
    *h = (struct host){.api = {.size = sizeof h->api,
                               .abi_minor = MGC_ABI_MINOR,
                               .log = on_log,
                               .next = on_next,
                               .rewind = on_rewind,
                               .settle = on_settle}};
    h->api.context = h;
    assert_null(entry(MGC_ABI_MAJOR + 1));
    h->adapter = entry(MGC_ABI_MAJOR);
    assert_non_null(h->adapter);
    assert_int_equal(h->adapter->abi_major, MGC_ABI_MAJOR);
    (void)snprintf(h->scratch, sizeof h->scratch, "%s/scratch", scratch);
    assert_int_equal(file_make_dirs(h->scratch, NULL), 0);
    h->noted =
        mmap(NULL, sizeof *h->noted, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(h->noted != MAP_FAILED);
    assert_int_equal(pipe(h->cancel), 0);
}

/* The module stays loaded: what it leaks is then reported by name. */
void host_init(struct host *h, const char *modules, const char *name, const char *scratch)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/mgc_%s.so", modules, name);
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!module)
        fail_msg("%s", dlerror());
    mgc_adapter_entry *entry;
    *(void **)&entry = dlsym(module, MGC_ENTRY);
    assert_non_null(entry);
    host_init_linked(h, entry, scratch);
    assert_string_equal(h->adapter->name, name);
    assert_int_equal(dlclose(module), 0);
}

void host_done(struct host *h)
{
    (void)munmap(h->noted, sizeof *h->noted);
    (void)close(h->cancel[0]);
    (void)close(h->cancel[1]);
}

static size_t option_index(const struct host *h, const char *name)
{
    size_t i = 0;
    while (h->adapter->options[i].name && strcmp(h->adapter->options[i].name, name) != 0)
        i++;
    assert_non_null(h->adapter->options[i].name);
    return i;
}

void host_option(struct host *h, const char *name, const char *value)
{
    size_t i = option_index(h, name);
    assert_true(strlen(value) < sizeof h->options[i]);
    (void)snprintf(h->options[i], sizeof h->options[i], "%s", value);
}

void host_batch(struct host *h, struct sample *s)
{
    h->sample = s;
    memset(h->noted, 0, sizeof *h->noted);
    for (size_t i = 0; i < BATCH_RECORDS_MAX; i++)
        h->noted->verdict[i] = 1;
    s->batch.attempt = 0;
    s->batch.scratch = h->scratch;
    s->batch.cancel_fd = h->cancel[0];
    s->batch.deadline_ms = 60000;
}

static void resolve(const struct host *h, struct mgc_value *values)
{
    for (size_t i = 0; h->adapter->options[i].name; i++) {
        const struct mgc_option *o = &h->adapter->options[i];
        const char *text = h->options[i][0] ? h->options[i] : o->fallback;
        assert_true(text || !o->required);
        if (!text)
            continue;
        values[i].set = 1;
        values[i].text = (struct mgc_text){text, strlen(text)};
        if (o->type == MGC_OPTION_INT)
            assert_true(text_i64(slice_of(text), &values[i].number));
        else if (o->type == MGC_OPTION_SIZE)
            assert_true(text_size(slice_of(text), &values[i].number));
        else if (o->type == MGC_OPTION_DURATION)
            assert_true(text_duration_ms(slice_of(text), &values[i].number));
        else if (o->type == MGC_OPTION_BOOL)
            values[i].number = strcmp(text, "yes") == 0;
    }
}

static void begin_call(struct host *h)
{
    h->place = 0;
    for (uint64_t i = 0; i < h->sample->batch.records; i++)
        h->sample->records[i].settled = h->noted->verdict[i] != 1;
}

int32_t host_deliver(struct host *h, struct mgc_error *e)
{
    struct mgc_value values[OPTIONS_MAX] = {0};
    void *instance = NULL;
    *e = (struct mgc_error){.size = sizeof *e};
    resolve(h, values);
    int32_t rc = h->adapter->check ? h->adapter->check(values, e) : MGC_OK;
    if (rc == MGC_OK)
        rc = h->adapter->open(&h->api, values, &instance, e);
    if (rc != MGC_OK)
        return rc;
    h->sample->batch.attempt++;
    begin_call(h);
    rc = MGC_NOT_FOUND;
    if (h->sample->batch.attempt > 1 && h->adapter->find)
        rc = h->adapter->find(instance, &h->sample->batch, e);
    h->noted->found += rc == MGC_OK;
    if (rc == MGC_NOT_FOUND)
        rc = h->adapter->deliver(instance, &h->sample->batch, e);
    h->adapter->close(instance);
    return rc;
}

int32_t host_verify(struct host *h, struct mgc_error *e)
{
    struct mgc_value values[OPTIONS_MAX] = {0};
    struct mgc_fact facts[NOTED_FACTS_MAX];
    void *instance = NULL;
    *e = (struct mgc_error){.size = sizeof *e};
    resolve(h, values);
    for (int i = 0; i < h->noted->fact_count; i++) {
        const char *name = h->noted->facts[i].name;
        const char *value = h->noted->facts[i].value;
        facts[i] = (struct mgc_fact){{name, strlen(name)}, {value, strlen(value)}};
    }
    int32_t rc = h->adapter->open(&h->api, values, &instance, e);
    if (rc != MGC_OK)
        return rc;
    begin_call(h);
    rc = h->adapter->verify(instance, &h->sample->batch, facts, (uint32_t)h->noted->fact_count, e);
    h->adapter->close(instance);
    return rc;
}

/* The scratch folder is emptied between attempts, as the contract promises. */
static void empty_scratch(const struct host *h)
{
    assert_int_equal(file_remove_tree(h->scratch, NULL), 0);
    assert_int_equal(file_make_dirs(h->scratch, NULL), 0);
}

int32_t host_deliver_apart(struct host *h, long file_limit, bool *killed, struct mgc_error *e)
{
    struct answer {
        int32_t rc;
        struct mgc_error error;
    } *answer =
        mmap(NULL, sizeof *answer, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(answer != MAP_FAILED);
    empty_scratch(h);
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit limit = {(rlim_t)file_limit, (rlim_t)file_limit};
        (void)signal(SIGXFSZ, SIG_IGN);
        if (file_limit && setrlimit(RLIMIT_FSIZE, &limit) < 0)
            _exit(1);
        answer->rc = host_deliver(h, &answer->error);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    *killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    assert_true(*killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    int32_t rc = answer->rc;
    *e = answer->error;
    (void)munmap(answer, sizeof *answer);
    h->sample->batch.attempt++;
    return rc;
}

int host_settled(const struct host *h)
{
    int n = 0;
    for (uint64_t i = 0; i < h->sample->batch.records; i++)
        n += h->noted->verdict[i] != 1;
    return n;
}

bool host_all_settled(const struct host *h, int32_t verdict)
{
    for (uint64_t i = 0; i < h->sample->batch.records; i++)
        if (h->noted->verdict[i] != verdict)
            return false;
    return true;
}
