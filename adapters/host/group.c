/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A filter of system calls, since that is what children inherit whatever they do. A subreaper would
 * get a dead worker's orphans, but could not tell whose they are; control groups and namespaces
 * need rights that an archiver has not got. Calls in another machine's numbers would pass the
 * filter by: they end the process.
 */
#include "adapters/host/group.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define MACHINE       AUDIT_ARCH_X86_64
#define OTHER_NUMBERS 0x40000000u /* x32: the same machine, numbers from here on */
#elif defined(__aarch64__)
#define MACHINE       AUDIT_ARCH_AARCH64
#define OTHER_NUMBERS 0xffffffffu
#endif

void group_keep(void)
{
#ifdef MACHINE
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MACHINE, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, OTHER_NUMBERS, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setsid, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setpgid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof steps / sizeof steps[0], steps};
    (void)prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
#endif
}
